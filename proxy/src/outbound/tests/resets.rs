//! What an HTTP/1 client sees of a peer that speaks HTTP/2 and breaks it off.

use std::{net::SocketAddr, time::Duration};

use tokio::{io::AsyncWriteExt, net::TcpListener};

use super::sandbox::{Mesh, WEB, first_available, meshed};
use crate::{
    inbound::tests::sandbox::read_response,
    io::boxed,
    transport_header::{self, Session},
};

const TO: &str = "10.0.0.1:80";
const PATH: &str = "web.default.svc.cluster.local:80";

/// A meshed peer that resets the first stream, and serves the others.
async fn resetting(mesh: &Mesh, reason: h2::Reason) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let store = mesh.issue(WEB);
    tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let accept = mesh_tls::Accept {
            transport_header: true,
            timeout: Duration::from_secs(5),
        };
        let mut io = mesh_tls::accept(&store, accept, tcp).await.unwrap().stream;
        let header = transport_header::read(&mut io).await.unwrap();
        assert_eq!(header.session, Some(Session::Http2));
        let mut connection = h2::server::handshake(io).await.unwrap();
        let (_, mut first) = connection.accept().await.unwrap().unwrap();
        first.send_reset(reason);
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            let response = ::http::Response::builder().header("content-length", "0");
            let response = response.body(()).unwrap();
            respond.send_response(response, true).unwrap();
        }
    });
    addr
}

#[tokio::test]
async fn a_stream_that_is_reset_is_a_502_and_others_are_served() {
    for reason in [h2::Reason::INTERNAL_ERROR, h2::Reason::CANCEL] {
        let mesh = Mesh::start().await;
        let peer = resetting(&mesh, reason).await;
        mesh.control.policy(TO, first_available(&[PATH]));
        mesh.control.endpoints(PATH, &[meshed(peer, WEB)]);
        let post = "POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 0\r\n\r\n";
        let mut client = boxed(mesh.dial(TO).await);
        client.write_all(post.as_bytes()).await.unwrap();
        let answer = read_response(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 502"), "{reason:?}: {answer}");
        let mut client = boxed(mesh.dial(TO).await);
        client.write_all(post.as_bytes()).await.unwrap();
        let answer = read_response(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{reason:?}: {answer}");
    }
}
