use super::*;
use crate::{
    Store,
    testing::{Agent, Ca},
};

const HOUR: Duration = Duration::from_secs(3600);

fn id() -> Id {
    "spiffe://example.org/vm/web".parse().unwrap()
}

fn answer(svids: Vec<X509Svid>) -> X509SvidResponse {
    X509SvidResponse { svids }
}

fn document(ca: &Ca) -> X509Svid {
    let issuer = ca.issuer("issuer");
    let (certified, key) = issuer.leaf(&id(), HOUR);
    let chain = [certified.leaf].into_iter().chain(certified.intermediates);
    X509Svid {
        spiffe_id: id().to_string(),
        x509_svid: chain.flat_map(|der| der.to_vec()).collect(),
        x509_svid_key: key.secret_der().to_vec(),
        bundle: issuer.anchors.certificates()[0].to_vec(),
    }
}

#[test]
fn an_api_is_at_an_absolute_path() {
    for address in [
        "/run/spire.sock",
        "unix:/run/spire.sock",
        "unix:///run/spire.sock",
    ] {
        let api = WorkloadApi::at(address).unwrap();
        assert_eq!(api.socket(), Path::new("/run/spire.sock"), "{address}");
    }
    assert_eq!(WorkloadApi::at("spire.sock"), None);
    assert_eq!(WorkloadApi::at("tcp:127.0.0.1:8081"), None);
}

#[test]
fn a_document_is_chosen_by_its_id_and_taken_apart() {
    let ca = Ca::new("root");
    let mut other = document(&ca);
    other.spiffe_id = "spiffe://example.org/vm/db".into();
    let svid = ours(answer(vec![other.clone(), document(&ca)]), &id()).unwrap();
    assert_eq!(svid.certified.intermediates.len(), 1);
    assert_eq!(svid.anchors, ca.anchors());
    let store = Store::new(id(), TrustAnchors::none());
    store.adopt(svid).unwrap();
    assert!(store.is_ready());
    let error = ours(answer(vec![other]), &id()).unwrap_err().to_string();
    assert!(
        error.contains("vm/db") && error.contains("registered"),
        "{error}"
    );
}

#[test]
fn what_is_malformed_is_refused_with_the_part_that_is() {
    let ca = Ca::new("root");
    let spoil = |spoil: fn(&mut X509Svid)| {
        let mut svid = document(&ca);
        spoil(&mut svid);
        ours(answer(vec![svid]), &id()).unwrap_err().to_string()
    };
    for (error, part) in [
        (spoil(|svid| svid.x509_svid.clear()), "no certificate"),
        (spoil(|svid| svid.x509_svid.truncate(100)), "certificates"),
        (spoil(|svid| svid.x509_svid.push(0)), "certificates"),
        (spoil(|svid| svid.x509_svid_key.clear()), "key"),
        (spoil(|svid| svid.bundle.clear()), "bundle"),
        (spoil(|svid| svid.bundle.insert(0, 7)), "bundle"),
        (
            spoil(|svid| svid.bundle = svid.bundle.repeat(MAX_CERTIFICATES + 1)),
            "bundle",
        ),
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[tokio::test]
async fn documents_come_again_when_they_change() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("agent.sock");
    let api = WorkloadApi::at(socket.to_str().unwrap()).unwrap();
    let missing = api.watch().await.unwrap_err().to_string();
    assert!(missing.contains("agent.sock"), "{missing}");
    let agent = Agent::start(&socket);
    let unknown = api.watch().await.unwrap_err().to_string();
    assert!(unknown.contains("no identity issued"), "{unknown}");
    let (old, new) = (Ca::new("old"), Ca::new("new"));
    agent.tell(&id(), &old.issuer("issuer"), &old.anchors());
    let store = Store::new(id(), TrustAnchors::none());
    let mut svids = api.watch().await.unwrap();
    for ca in [&old, &new] {
        agent.tell(&id(), &ca.issuer("issuer"), &ca.anchors());
        while store.anchors() != ca.anchors() {
            store
                .adopt(svids.next(&id()).await.unwrap().unwrap())
                .unwrap();
        }
    }
    drop(agent);
}
