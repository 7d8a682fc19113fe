//! A file that changes under a store.

use super::*;
use crate::{
    Accept, Target, accept, certify_loop, connect,
    testing::{Ca, Issuer},
};
use tokio::io::duplex;

const HOUR: Duration = Duration::from_secs(3600);
const SOON: Duration = Duration::from_millis(5);

fn id(name: &str) -> crate::Id {
    format!("{name}.linkerd.serviceaccount.identity.linkerd.cluster.local")
        .parse()
        .unwrap()
}

/// Whether `client` is served by `server` as itself.
async fn meets(client: &Store, server: &Store) -> bool {
    let (near, far) = duplex(64 * 1024);
    let target = Target {
        server_id: server.id().clone(),
        server_name: None,
        transport_header: false,
    };
    let how = Accept {
        transport_header: false,
        timeout: Duration::from_secs(5),
    };
    let (dialled, accepted) =
        tokio::join!(connect(client, &target, near), accept(server, how, far));
    dialled.is_ok() && accepted.is_ok()
}

/// Trusts both, and is certified by the second.
fn of_the_new_world(old: &Ca, new: &Ca, issuer: &Issuer) -> Store {
    let both = format!("{}{}", old.0.cert_pem(), new.0.cert_pem());
    let store = Store::new(id("client"), TrustAnchors::from_pem(&both).unwrap());
    issuer.renew(&store, HOUR);
    store
}

#[tokio::test]
async fn a_root_added_to_the_file_is_trusted_without_a_restart() {
    let (old, new) = (Ca::new("old"), Ca::new("new"));
    let client = of_the_new_world(&old, &new, &new.issuer("new"));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca-bundle.crt");
    std::fs::write(&path, old.0.cert_pem()).unwrap();
    let server = Store::new(id("server"), read_anchors(&path).await.unwrap());
    old.issuer("old").renew(&server, HOUR);
    assert!(!meets(&client, &server).await);

    let following = {
        let (server, path) = (server.clone(), path.clone());
        tokio::spawn(async move { follow(&server, &path, SOON).await })
    };
    let known = server.anchors();
    std::fs::write(&path, format!("{}{}", old.0.cert_pem(), new.0.cert_pem())).unwrap();
    server.overtaken(&known, 0).await;
    assert!(meets(&client, &server).await);

    // And one that is taken out is trusted no more.
    let known = server.anchors();
    std::fs::write(&path, old.0.cert_pem()).unwrap();
    server.overtaken(&known, 0).await;
    assert!(!meets(&client, &server).await);
    following.abort();
}

#[tokio::test]
async fn a_file_that_cannot_be_used_changes_nothing_and_is_named() {
    let ca = Ca::new("root");
    let store = Store::new(id("server"), ca.anchors());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca-bundle.crt");
    let missing = step(&store, &path).await.unwrap_err();
    std::fs::write(&path, "nonsense").unwrap();
    let nonsense = step(&store, &path).await.unwrap_err();
    for error in [missing, nonsense] {
        assert!(error.contains("ca-bundle.crt"), "{error}");
    }
    assert_eq!(store.anchors(), ca.anchors());
}

#[tokio::test]
async fn who_trusts_other_anchors_asks_for_another_certificate_at_once() {
    let (old, new) = (Ca::new("old"), Ca::new("new"));
    let store = Store::new(id("server"), old.anchors());
    let task = tokio::spawn(certify_loop(
        store.clone(),
        old.issuer("old"),
        std::future::pending(),
    ));
    store.ready().await;
    let renewed = tokio::spawn({
        let store = store.clone();
        async move { store.renewed().await }
    });
    tokio::task::yield_now().await;
    // Both, so that the old issuer's certificate can still be installed.
    let both = format!("{}{}", old.0.cert_pem(), new.0.cert_pem());
    store.trust(TrustAnchors::from_pem(&both).unwrap()).unwrap();
    tokio::time::timeout(Duration::from_secs(5), renewed)
        .await
        .expect("renewed long before seven tenths of its life")
        .unwrap();
    task.abort();
}
