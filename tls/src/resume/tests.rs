use super::*;
use crate::{
    Accept, Store, accept, reconnect,
    testing::Ca,
    tests::{ACCEPT, HOUR, Mesh, id, mesh, short, to},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 4143);

/// What both sides say of one connection on which a byte went each way.
async fn meet_at(
    peer: SocketAddr,
    client: &Store,
    server: &Store,
    target: &Target,
) -> Result<HandshakeKind, String> {
    let how = Accept {
        transport_header: target.transport_header,
        ..ACCEPT
    };
    let (near, far) = duplex(64 * 1024);
    let dial = async {
        let mut io = reconnect(client, target, peer, near).await?;
        io.write_all(b"a").await.map_err(Error::Handshake)?;
        // A ticket comes with the answer.
        io.read_exact(&mut [0]).await.map_err(Error::Handshake)?;
        assert_eq!(io.server().id(), &target.server_id);
        Ok(io)
    };
    let serve = async {
        let mut accepted = accept(server, how, far).await?;
        let io = &mut accepted.stream;
        io.read_exact(&mut [0]).await.map_err(Error::Handshake)?;
        io.write_all(b"b").await.map_err(Error::Handshake)?;
        io.flush().await.map_err(Error::Handshake)?;
        assert_eq!(accepted.peer.unwrap().id(), client.id());
        Ok(accepted.stream.get_ref().1.handshake_kind().unwrap())
    };
    match tokio::join!(dial, serve) {
        (Ok(_), Ok(kind)) => Ok(kind),
        (dialled, served) => {
            let told = |error: Option<Error>| error.map(|error| error.to_string());
            Err(format!(
                "{:?}, {:?}",
                told(dialled.err()),
                told(served.err())
            ))
        }
    }
}

async fn meet(mesh: &Mesh) -> HandshakeKind {
    meet_at(PEER, &mesh.client, &mesh.server, &to("server"))
        .await
        .unwrap()
}

#[tokio::test]
async fn the_next_connection_to_the_same_peer_resumes_and_knows_both_sides() {
    let mesh = mesh();
    assert_ne!(meet(&mesh).await, HandshakeKind::Resumed);
    assert_eq!(meet(&mesh).await, HandshakeKind::Resumed);
    assert_eq!(meet(&mesh).await, HandshakeKind::Resumed);
}

#[tokio::test]
async fn sessions_are_of_one_address_and_one_target() {
    let mesh = mesh();
    meet(&mesh).await;
    let elsewhere = SocketAddr::new(PEER.ip(), 4144);
    let whole = meet_at(elsewhere, &mesh.client, &mesh.server, &to("server")).await;
    assert_ne!(whole.unwrap(), HandshakeKind::Resumed);
    let with_header = Target {
        transport_header: true,
        ..to("server")
    };
    let whole = meet_at(PEER, &mesh.client, &mesh.server, &with_header).await;
    assert_ne!(whole.unwrap(), HandshakeKind::Resumed);
}

#[tokio::test]
async fn another_server_at_the_same_address_handshakes_anew() {
    let mesh = mesh();
    meet(&mesh).await;
    let other = mesh.issuer.issue(&id("server"), HOUR);
    let whole = meet_at(PEER, &mesh.client, &other, &to("server")).await;
    assert_ne!(whole.unwrap(), HandshakeKind::Resumed);
}

#[tokio::test]
async fn a_new_certificate_on_either_side_ends_its_sessions() {
    let mesh = mesh();
    meet(&mesh).await;
    mesh.issuer.renew(&mesh.server, HOUR);
    assert_ne!(meet(&mesh).await, HandshakeKind::Resumed);
    mesh.issuer.renew(&mesh.client, HOUR);
    assert_ne!(meet(&mesh).await, HandshakeKind::Resumed);
}

#[tokio::test]
async fn a_client_whose_anchor_is_trusted_no_more_cannot_resume() {
    let mesh = mesh();
    meet(&mesh).await;
    mesh.server.trust(Ca::new("other").anchors()).unwrap();
    let error = meet_at(PEER, &mesh.client, &mesh.server, &to("server"))
        .await
        .unwrap_err();
    assert!(error.contains("UnknownIssuer"), "{error}");
}

/// Until `refused` by either side; by then every session has been resumed at least once.
async fn refused(client: &Store, server: &Store) -> (usize, String) {
    let mut resumed = 0;
    let refused = async {
        loop {
            match meet_at(PEER, client, server, &to("server")).await {
                Ok(HandshakeKind::Resumed) => resumed += 1,
                Ok(_) => {}
                Err(error) => return error,
            }
        }
    };
    let error = tokio::time::timeout(Duration::from_secs(10), refused)
        .await
        .unwrap();
    (resumed, error)
}

#[tokio::test]
async fn a_session_does_not_outlive_the_clients_certificate() {
    let mesh = mesh();
    let client = short(&mesh, "client", Duration::from_secs(2));
    let (resumed, error) = refused(&client, &mesh.server).await;
    assert!(
        resumed > 0 && error.contains("Expired"),
        "{resumed} {error}"
    );
}

#[tokio::test]
async fn a_session_does_not_outlive_the_servers_certificate() {
    let mesh = mesh();
    let server = short(&mesh, "server", Duration::from_secs(2));
    let (resumed, error) = refused(&mesh.client, &server).await;
    assert!(
        resumed > 0 && error.contains("Expired"),
        "{resumed} {error}"
    );
    let again = meet_at(PEER, &mesh.client, &server, &to("server")).await;
    assert!(again.unwrap_err().contains("Expired"));
}

#[test]
fn as_many_peers_as_there_may_be_are_remembered_and_no_more() {
    let sessions = Sessions::default();
    let make = || {
        Ok(
            ClientConfig::builder_with_provider(crate::verify::provider().clone())
                .with_protocol_versions(&[&rustls::version::TLS13])?
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth(),
        )
    };
    for port in 1..=1_000 {
        let peer = SocketAddr::new(PEER.ip(), port);
        sessions.config(peer, &to("server"), make).unwrap();
        assert!(sessions.0.lock().len() <= Sessions::MOST);
    }
}
