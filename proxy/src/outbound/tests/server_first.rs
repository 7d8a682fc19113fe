//! Protocols in which the server speaks first, and connections that end.

use std::{net::SocketAddr, time::Duration};

use linkerd2_proxy_api::{
    destination::DestinationProfile,
    outbound::{self as api, OutboundPolicy},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::mpsc,
    time::timeout,
};

use super::sandbox::{Mesh, first_available, plain};

const TO: &str = "10.0.0.1:25";
const PATH: &str = "mail.default.svc.cluster.local:25";
const PATIENCE: Duration = Duration::from_secs(20);
const GREETING: &[u8] = b"220 hello";

/// A server that greets at once, and says what it was told until its client closed.
async fn greeting() -> (SocketAddr, mpsc::UnboundedReceiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (ended, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut io, _)) = listener.accept().await {
            io.write_all(GREETING).await.unwrap();
            let mut bytes = Vec::new();
            io.read_to_end(&mut bytes).await.unwrap();
            ended.send(bytes).unwrap();
        }
    });
    (addr, told)
}

/// Waits for the greeting, answers it and closes.
async fn converse(mesh: &Mesh, to: &str, told: &mut mpsc::UnboundedReceiver<Vec<u8>>) {
    let mut client = mesh.dial(to).await;
    let mut greeting = [0; GREETING.len()];
    let greeted = timeout(PATIENCE, client.read_exact(&mut greeting)).await;
    greeted.expect("no greeting").unwrap();
    assert_eq!(greeting, *GREETING);
    client.write_all(b"bye").await.unwrap();
    drop(client);
    let heard = timeout(PATIENCE, told.recv()).await;
    assert_eq!(heard.expect("not closed").unwrap(), b"bye");
}

/// All connections are bytes.
fn opaque() -> OutboundPolicy {
    use api::proxy_protocol::Kind;
    let mut policy = first_available(&[PATH]);
    let Some(Kind::Detect(detect)) = policy.protocol.take().unwrap().kind else {
        panic!("not detected")
    };
    OutboundPolicy {
        protocol: Some(api::ProxyProtocol {
            kind: detect.opaque.map(Kind::Opaque),
        }),
        ..policy
    }
}

/// Longer than a test may take: a server that is waited for is not heard.
const NEVER: (&str, &str) = ("OUTBOUND_DETECT_TIMEOUT", "1h");

#[tokio::test]
async fn where_all_is_bytes_the_server_may_speak_first() {
    let mesh = Mesh::with(&[NEVER]).await;
    let (server, mut told) = greeting().await;
    mesh.control.policy(TO, opaque());
    mesh.control.endpoints(PATH, &[plain(server)]);
    converse(&mesh, TO, &mut told).await;
}

#[tokio::test]
async fn a_profile_says_so_too() {
    let networks = ("DESTINATION_PROFILE_NETWORKS", "10.0.0.0/8");
    let mesh = Mesh::with(&[NEVER, networks]).await;
    let (server, mut told) = greeting().await;
    mesh.control.policy(TO, first_available(&[PATH]));
    mesh.control.endpoints(PATH, &[plain(server)]);
    let profile = DestinationProfile {
        opaque_protocol: true,
        ..Default::default()
    };
    mesh.control.profile(TO, profile);
    converse(&mesh, TO, &mut told).await;
}

#[tokio::test]
async fn a_client_that_says_nothing_is_waited_for_and_then_the_server_is_heard() {
    let mesh = Mesh::with(&[("OUTBOUND_DETECT_TIMEOUT", "100ms")]).await;
    let (server, mut told) = greeting().await;
    mesh.control.policy(TO, first_available(&[PATH]));
    mesh.control.endpoints(PATH, &[plain(server)]);
    converse(&mesh, TO, &mut told).await;
    // Also where the control plane knows nothing.
    converse(&mesh, &server.to_string(), &mut told).await;
}
