//! Both sides of the handshake against each other, and against what they must refuse.

use crate::{
    Accept, Accepted, Error, Id, InstallError, Store, Target, TrustAnchors, accept, connect,
    connect_anonymous,
    testing::{Ca, Issuer},
};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs, version::TLS13};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use std::{sync::Arc, time::Duration};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_rustls::TlsConnector;

pub(crate) const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const ACCEPT: Accept = Accept {
    transport_header: false,
    timeout: Duration::from_secs(5),
};

pub(crate) fn id(name: &str) -> Id {
    format!("{name}.default.serviceaccount.identity.linkerd.cluster.local")
        .parse()
        .unwrap()
}

pub(crate) fn to(server: &str) -> Target {
    Target {
        server_id: id(server),
        server_name: None,
        transport_header: false,
    }
}

/// One mesh, in which `client` and `server` have certificates.
pub(crate) struct Mesh {
    pub(crate) issuer: Issuer,
    pub(crate) client: Store,
    pub(crate) server: Store,
}

pub(crate) fn mesh() -> Mesh {
    let issuer = Ca::new("anchor").issuer("west");
    Mesh {
        client: issuer.issue(&id("client"), HOUR),
        server: issuer.issue(&id("server"), HOUR),
        issuer,
    }
}

/// Handshakes, sends `ping` and returns what each side made of the other.
async fn meet(
    client: &Store,
    server: &Store,
    target: &Target,
    how: Accept,
) -> (Result<bool, Error>, Result<Accepted<DuplexStream>, Error>) {
    let (near, far) = duplex(64 * 1024);
    let dial = async {
        let mut io = connect(client, target, near).await?;
        io.write_all(b"ping").await.unwrap();
        io.flush().await.unwrap();
        assert_eq!(io.server().id(), &target.server_id);
        Ok(io)
    };
    let serve = async {
        let mut accepted = accept(server, how, far).await?;
        let mut ping = [0; 4];
        accepted
            .stream
            .read_exact(&mut ping)
            .await
            .map_err(Error::Handshake)?;
        Ok(accepted)
    };
    // The client stays until the server is done.
    let (dialled, accepted) = tokio::join!(dial, serve);
    (dialled.map(|io| io.transport_header()), accepted)
}

#[tokio::test]
async fn both_sides_learn_who_the_other_is() {
    let mesh = mesh();
    let (dialled, accepted) = meet(&mesh.client, &mesh.server, &to("server"), ACCEPT).await;
    assert!(!dialled.unwrap());
    let accepted = accepted.unwrap();
    assert_eq!(accepted.peer.unwrap().id(), &id("client"));
    assert!(!accepted.transport_header);
    let (_, connection) = accepted.stream.get_ref();
    assert_eq!(
        connection.protocol_version(),
        Some(rustls::ProtocolVersion::TLSv1_3)
    );
    let group = connection.negotiated_key_exchange_group().unwrap();
    assert_eq!(group.name(), rustls::NamedGroup::X25519MLKEM768);
}

#[tokio::test]
async fn a_server_that_is_somebody_else_is_refused_by_name() {
    let mesh = mesh();
    let (dialled, accepted) = meet(&mesh.client, &mesh.server, &to("other"), ACCEPT).await;
    let error = dialled.unwrap_err();
    let Error::WrongIdentity { expected, found } = &error else {
        panic!("{error}");
    };
    assert_eq!(expected, &id("other"));
    assert_eq!(found, &[id("server").to_string()]);
    assert!(accepted.is_err());
}

#[tokio::test]
async fn a_server_of_a_foreign_ca_is_refused() {
    let mesh = mesh();
    let foreign = Ca::new("anchor").issuer("west").issue(&id("server"), HOUR);
    let (dialled, accepted) = meet(&mesh.client, &foreign, &to("server"), ACCEPT).await;
    let error = dialled.unwrap_err().to_string();
    assert!(
        error.contains("UnknownIssuer") || error.contains("BadSignature"),
        "{error}"
    );
    assert!(accepted.is_err());
}

#[tokio::test]
async fn a_client_of_a_foreign_ca_is_refused() {
    let mesh = mesh();
    // It trusts our server, so that only our judgement of its certificate can end this.
    let foreign = Ca::new("other").issuer("other");
    let (certified, key) = foreign.leaf(&id("client"), HOUR);
    let both: Vec<_> = [&mesh.issuer.anchors, &foreign.anchors]
        .iter()
        .flat_map(|anchors| anchors.certificates().to_vec())
        .collect();
    let client = Store::new(id("client"), TrustAnchors::from_der(both).unwrap());
    client.install(certified, key).unwrap();
    let (_, accepted) = meet(&client, &mesh.server, &to("server"), ACCEPT).await;
    let error = accepted.unwrap_err().to_string();
    assert!(error.contains("linked clusters must share"), "{error}");
}

#[tokio::test]
async fn a_client_without_a_certificate_is_nobody() {
    let mesh = mesh();
    let (near, far) = duplex(64 * 1024);
    let target = to("server");
    let (dialled, accepted) = tokio::join!(
        connect_anonymous(&mesh.issuer.anchors, &target, near),
        accept(&mesh.server, ACCEPT, far)
    );
    dialled.unwrap();
    assert_eq!(accepted.unwrap().peer, None);
}

#[tokio::test]
async fn the_transport_header_is_used_only_where_both_offer_it() {
    let mesh = mesh();
    for (asked, offered) in [(true, true), (true, false), (false, true), (false, false)] {
        let target = Target {
            transport_header: asked,
            ..to("server")
        };
        let how = Accept {
            transport_header: offered,
            ..ACCEPT
        };
        let (dialled, accepted) = meet(&mesh.client, &mesh.server, &target, how).await;
        assert_eq!(dialled.unwrap(), asked && offered);
        assert_eq!(accepted.unwrap().transport_header, asked && offered);
    }
}

/// A client that is not ours.
async fn strange(server: &Store, how: Accept, config: ClientConfig) -> (bool, Result<(), Error>) {
    let (near, far) = duplex(64 * 1024);
    let name = ServerName::try_from(server.id().to_string()).unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let (dialled, accepted) = tokio::join!(connector.connect(name, near), accept(server, how, far));
    (dialled.is_ok(), accepted.map(drop))
}

fn strange_config(issuer: &Issuer) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let certificates = issuer.anchors.certificates().iter().cloned();
    roots.add_parsable_certificates(certificates);
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

#[tokio::test]
async fn tls_1_2_is_refused() {
    let mesh = mesh();
    let (mut client, io) = duplex(1024);
    // RFC 5246: ECDHE-ECDSA-AES128-GCM-SHA256 over P-256, ecdsa_secp256r1_sha256, and no
    // supported_versions, which is how 1.2 and older speak.
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0xc0, 0x2b, 1, 0]);
    let extensions = [
        &[0, 10, 0, 4, 0, 2, 0, 23][..],
        &[0, 11, 0, 2, 1, 0],
        &[0, 13, 0, 4, 0, 2, 4, 3],
    ]
    .concat();
    body.extend([0, u8::try_from(extensions.len()).unwrap()]);
    body.extend(extensions);
    let length = u8::try_from(body.len()).unwrap();
    let mut hello = vec![22, 3, 1, 0, length + 4, 1, 0, 0, length];
    hello.extend(body);
    assert_eq!(
        crate::sniff::sniff(&hello),
        crate::sniff::Sniff::ClientHello { sni: None }
    );
    client.write_all(&hello).await.unwrap();

    let error = accept(&mesh.server, ACCEPT, io).await.unwrap_err();
    assert!(matches!(error, Error::Handshake(_)), "{error}");
    let mut alert = Vec::new();
    client.read_to_end(&mut alert).await.unwrap();
    // A fatal alert, protocol_version.
    assert_eq!(alert[0], 21, "{alert:?}");
    assert_eq!(alert[5..], [2, 70], "{alert:?}");
}

#[tokio::test]
async fn a_client_that_offers_only_other_protocols_is_refused_where_the_header_is_served() {
    let mesh = mesh();
    let mut config = strange_config(&mesh.issuer);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let direct = Accept {
        transport_header: true,
        ..ACCEPT
    };
    let (dialled, accepted) = strange(&mesh.server, direct, config.clone()).await;
    assert!(!dialled);
    accepted.unwrap_err();
    strange(&mesh.server, ACCEPT, config).await.1.unwrap();
}

#[tokio::test]
async fn renewal_swaps_the_certificate_for_new_handshakes_only() {
    let mesh = mesh();
    let (_, first) = meet(&mesh.client, &mesh.server, &to("server"), ACCEPT).await;
    let certificate = |accepted: &Accepted<DuplexStream>| {
        let (_, connection) = accepted.stream.get_ref();
        connection.peer_certificates().unwrap()[0].as_ref().to_vec()
    };
    let first = certificate(&first.unwrap());
    let expiry = mesh.client.expiry().unwrap();
    mesh.issuer.renew(&mesh.client, 2 * HOUR);
    assert!(mesh.client.expiry().unwrap() > expiry);
    let (_, second) = meet(&mesh.client, &mesh.server, &to("server"), ACCEPT).await;
    assert_ne!(certificate(&second.unwrap()), first);
}

/// A certificate of `mesh` for `name` that is valid for `lifetime` from now on.
pub(crate) fn short(mesh: &Mesh, name: &str, lifetime: Duration) -> Store {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let spki = rcgen::PublicKeyData::subject_public_key_info(&key);
    let issuer = &mesh.issuer.issuer;
    let certified = issuer
        .sign(&id(name), &spki, lifetime, Duration::ZERO)
        .unwrap();
    let key = rustls_pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
    let store = Store::new(id(name), mesh.issuer.anchors.clone());
    store.install(certified, key.into()).unwrap();
    store
}

#[tokio::test]
async fn a_certificate_in_use_is_refused_once_it_expires() {
    let mesh = mesh();
    let client = short(&mesh, "client", Duration::from_secs(2));
    let (_, accepted) = meet(&client, &mesh.server, &to("server"), ACCEPT).await;
    assert!(accepted.unwrap().peer.is_some());
    let refused = async {
        loop {
            let (_, accepted) = meet(&client, &mesh.server, &to("server"), ACCEPT).await;
            if let Err(error) = accepted {
                return error.to_string();
            }
        }
    };
    let error = tokio::time::timeout(Duration::from_secs(10), refused)
        .await
        .unwrap();
    assert!(
        error.contains("Expired") && error.contains("clocks"),
        "{error}"
    );
}

#[test]
fn a_clock_ten_minutes_behind_refuses_a_new_certificate_unless_its_issuer_allows_for_it() {
    const BEHIND: Duration = Duration::from_secs(10 * 60);
    let mesh = mesh();
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let spki = rcgen::PublicKeyData::subject_public_key_info(&key);
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    for (allowance, accepted) in [(Duration::from_secs(20), false), (3 * BEHIND / 2, true)] {
        let signed = mesh
            .issuer
            .issuer
            .sign(&id("client"), &spki, HOUR, allowance);
        let leaf = signed.unwrap().leaf;
        let (_, leaf) = x509_parser::parse_x509_certificate(&leaf).unwrap();
        let valid = |now: Duration| {
            let now = i64::try_from(now.as_secs()).unwrap();
            let now = x509_parser::time::ASN1Time::from_timestamp(now).unwrap();
            leaf.validity().is_valid_at(now)
        };
        assert!(valid(now) && valid(now + BEHIND));
        assert_eq!(valid(now - BEHIND), accepted, "{allowance:?}");
    }
}

#[test]
fn a_certificate_that_expired_on_its_way_is_not_installed() {
    let mesh = mesh();
    let (mut certified, key) = mesh.issuer.leaf(&id("client"), HOUR);
    certified.valid_until = std::time::SystemTime::now() - Duration::from_secs(1);
    let fresh = Store::new(id("client"), mesh.issuer.anchors.clone());
    let error = fresh.install(certified, key).unwrap_err();
    assert!(matches!(error, InstallError::Expired), "{error}");
    assert!(!fresh.is_ready());
}

#[tokio::test]
async fn what_does_not_fit_together_is_not_installed() {
    let mesh = mesh();
    let store = &mesh.client;
    let before = store.expiry();

    let (ours, _) = mesh.issuer.leaf(&id("client"), HOUR);
    let (_, other_key) = mesh.issuer.leaf(&id("client"), HOUR);
    let error = store.install(ours, other_key).unwrap_err();
    assert!(matches!(error, InstallError::Mismatch(_)), "{error}");

    let (theirs, key) = mesh.issuer.leaf(&id("server"), HOUR);
    let error = store.install(theirs, key).unwrap_err();
    assert!(matches!(error, InstallError::Name { .. }), "{error}");

    let (foreign, key) = Ca::new("other").issuer("other").leaf(&id("client"), HOUR);
    let error = store.install(foreign, key).unwrap_err();
    assert!(matches!(error, InstallError::Chain(_)), "{error}");

    assert_eq!(store.expiry(), before);
}

#[tokio::test]
async fn without_a_certificate_nothing_is_served_or_dialled() {
    let mesh = mesh();
    let bare = Store::new(id("client"), mesh.issuer.anchors.clone());
    let (io, _other) = duplex(1024);
    let target = to("server");
    assert!(matches!(
        connect(&bare, &target, io).await,
        Err(Error::NotReady)
    ));
    let (io, _other) = duplex(1024);
    assert!(matches!(
        accept(&bare, ACCEPT, io).await,
        Err(Error::NotReady)
    ));
}

#[tokio::test]
async fn a_client_that_says_nothing_is_timed_out() {
    let mesh = mesh();
    let (_silent, io) = duplex(1024);
    let how = Accept {
        timeout: Duration::from_millis(20),
        ..ACCEPT
    };
    assert!(matches!(
        accept(&mesh.server, how, io).await,
        Err(Error::Timeout)
    ));
}

#[tokio::test]
async fn garbage_instead_of_a_handshake_is_an_error() {
    let mesh = mesh();
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0x16, 3, 1, 0xff, 0xff],
        &[0; 100],
    ] {
        let (mut client, io) = duplex(1024);
        client.write_all(bytes).await.unwrap();
        drop(client);
        let error = accept(&mesh.server, ACCEPT, io).await.unwrap_err();
        assert!(matches!(error, Error::Handshake(_)), "{error}");
    }
}

#[tokio::test]
async fn uri_identities_work_with_a_server_name() {
    let issuer = Ca::new("anchor").issuer("west");
    let spiffe: Id = "spiffe://cluster.local/vm".parse().unwrap();
    let server = issuer.issue(&spiffe, HOUR);
    let client = issuer.issue(&id("client"), HOUR);
    let target = Target {
        server_id: spiffe,
        server_name: Some("vm.cluster.local".to_owned()),
        transport_header: false,
    };
    let (dialled, accepted) = meet(&client, &server, &target, ACCEPT).await;
    dialled.unwrap();
    accepted.unwrap();
    // And as a client, where it is the first name of the certificate.
    let (_, accepted) = meet(&server, &client, &to("client"), ACCEPT).await;
    assert_eq!(accepted.unwrap().peer.unwrap().id(), server.id());

    let nameless = Target {
        server_name: None,
        ..target
    };
    let (io, _other) = duplex(1024);
    let error = connect(&client, &nameless, io).await.unwrap_err();
    assert!(matches!(error, Error::ServerName(_)), "{error}");
}

#[test]
fn trust_anchors_are_read_whole_or_not_at_all() {
    let (west, east) = (Ca::new("west"), Ca::new("east"));
    let both = format!("# two\n{}{}", west.0.cert_pem(), east.0.cert_pem());
    let anchors = TrustAnchors::from_pem(&both).unwrap();
    assert_eq!(anchors.certificates().len(), 2);
    assert!(anchors.overlaps(&west.anchors()));
    assert!(!west.anchors().overlaps(&east.anchors()));

    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for text in [
        "",
        "hello",
        &west.0.key_pem(),
        broken,
        &format!("{both}{broken}"),
    ] {
        assert!(TrustAnchors::from_pem(text).is_err(), "{text}");
    }
}

#[test]
fn the_first_usable_name_of_a_certificate_is_the_identity() {
    // SANs: IP 10.0.0.1, DNS `dotted.`, URI spiffe://x/y, DNS web.example
    let params = |names: Vec<rcgen::SanType>| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.subject_alt_names = names;
        params.self_signed(&key).unwrap().der().to_vec()
    };
    use rcgen::SanType as San;
    let der = params(vec![
        San::IpAddress([10, 0, 0, 1].into()),
        San::DnsName("dotted.".try_into().unwrap()),
        San::URI("spiffe://x/y".try_into().unwrap()),
        San::DnsName("Web.example".try_into().unwrap()),
    ]);
    let names: Vec<_> = Id::all_of(&der).iter().map(Id::to_string).collect();
    assert_eq!(names, ["spiffe://x/y", "web.example"]);
    assert!(Id::all_of(b"garbage").is_empty());
    assert!(Id::all_of(&params(vec![])).is_empty());
}

#[test]
fn what_the_anchor_prints_is_what_it_is() {
    let ca = Ca::new("anchor");
    let der = CertificateDer::from_pem_slice(ca.0.cert_pem().as_bytes()).unwrap();
    assert_eq!(ca.anchors().certificates(), [der]);
}
