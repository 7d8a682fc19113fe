//! The admin server seen from a socket.

use super::*;
use crate::{Trigger, shutdown};
use prometheus_client::metrics::counter::Counter;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

async fn start(admin: Admin) -> (SocketAddr, Trigger) {
    let bound = admin.bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let addr = bound.addr();
    let (trigger, shutdown) = shutdown();
    tokio::spawn(bound.serve(shutdown));
    (addr, trigger)
}

async fn send(addr: SocketAddr, request: &str) -> String {
    let mut io = TcpStream::connect(addr).await.unwrap();
    io.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    io.read_to_string(&mut response).await.unwrap();
    response
}

async fn get(addr: SocketAddr, path: &str) -> String {
    send(
        addr,
        &format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"),
    )
    .await
}

#[tokio::test]
async fn ready_follows_the_guards_and_names_them() {
    let readiness = Readiness::new();
    let guard = readiness.guard("certificate");
    let (addr, _trigger) = start(Admin::new(readiness, Registry::default())).await;

    let response = get(addr, "/ready").await;
    assert!(response.starts_with("HTTP/1.1 503"), "{response}");
    assert!(response.contains("awaiting: certificate"), "{response}");
    assert!(get(addr, "/live").await.ends_with("live\n"));
    drop(guard);
    assert!(get(addr, "/ready").await.ends_with("\r\n\r\nready\n"));
}

#[tokio::test]
async fn metrics_are_the_extra_text_then_the_registry() {
    let mut registry = Registry::default();
    let counter = Counter::<u64>::default();
    registry.register("dogs", "Dogs", counter.clone());
    counter.inc();
    let admin = Admin::new(Readiness::new(), registry)
        .metrics_source(Arc::new(|| "cats_total 2\n".to_owned()));
    let (addr, _trigger) = start(admin).await;
    let response = get(addr, "/metrics").await;
    let body = response.split("\r\n\r\n").nth(1).unwrap();
    assert!(body.starts_with("cats_total 2\n"), "{body}");
    assert!(body.contains("dogs_total 1\n"), "{body}");
    assert!(body.ends_with("# EOF\n"), "{body}");
}

#[tokio::test]
async fn state_has_every_section() {
    let admin = Admin::new(Readiness::new(), Registry::default())
        .state("index", Arc::new(|| serde_json::json!({"count": 3})));
    let (addr, _trigger) = start(admin).await;
    let response = get(addr, "/state").await;
    let state: serde_json::Value =
        serde_json::from_str(response.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!(state["index"]["count"], 3);
    assert_eq!(state["ready"], true);
}

#[tokio::test]
async fn a_route_sees_method_body_and_peer() {
    let admin = Admin::new(Readiness::new(), Registry::default()).route(Arc::new(|request| {
        let Peer(peer) = request.extensions().get()?;
        (request.uri().path() == "/echo" && peer.ip().is_loopback()).then(|| {
            let body = format!(
                "{} {}",
                request.method(),
                String::from_utf8_lossy(request.body())
            );
            respond(StatusCode::OK, "text/plain", body)
        })
    }));
    let (addr, _trigger) = start(admin).await;
    let request =
        "PUT /echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello";
    assert!(send(addr, request).await.ends_with("PUT hello"));
    assert!(get(addr, "/nothing").await.starts_with("HTTP/1.1 404"));
    let post = "POST /live HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    assert!(send(addr, post).await.starts_with("HTTP/1.1 405"));
}

#[tokio::test]
async fn bodies_and_garbage_are_bounded() {
    let (addr, _trigger) = start(Admin::new(Readiness::new(), Registry::default())).await;
    let long = format!(
        "PUT /state HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        MAX_BODY + 1
    );
    assert!(send(addr, &long).await.starts_with("HTTP/1.1 400"));
    let response = send(addr, "\x16\x03\x01 not http at all\r\n\r\n").await;
    assert!(response.starts_with("HTTP/1.1 400"), "{response}");
    assert!(get(addr, "/live").await.ends_with("live\n"));
}

#[tokio::test]
async fn a_client_that_never_finishes_its_headers_is_cut_off() {
    let (mut client, server) = tokio::io::duplex(1024);
    let admin = Admin::new(Readiness::new(), Registry::default());
    let serving = tokio::spawn(async move {
        admin
            .serve_connection(server, ([127, 0, 0, 1], 1).into())
            .await;
    });
    client.write_all(b"GET /live HTTP/1.1\r\n").await.unwrap();
    serving.await.unwrap();
}

#[tokio::test]
async fn from_the_shutdown_on_it_says_that_it_is_not_ready() {
    let (addr, trigger) = start(Admin::new(Readiness::new(), Registry::default())).await;
    assert!(get(addr, "/ready").await.starts_with("HTTP/1.1 200"));
    trigger.shutdown();
    let answer = async {
        loop {
            let answer = get(addr, "/ready").await;
            if !answer.starts_with("HTTP/1.1 200") {
                return answer;
            }
        }
    };
    let answer = tokio::time::timeout(TIMEOUT, answer).await.unwrap();
    assert!(answer.contains("awaiting: shutdown"), "{answer}");
    assert!(get(addr, "/live").await.ends_with("live\n"));
}

#[tokio::test]
async fn one_peer_cannot_keep_probes_out() {
    let (addr, _trigger) = start(Admin::new(Readiness::new(), Registry::default())).await;
    let mut slow = Vec::new();
    for _ in 0..2 * MAX_CONNECTIONS {
        let mut io = TcpStream::connect(addr).await.unwrap();
        let _ = io.write_all(b"GET").await;
        slow.push(io);
    }
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 2], 0).into()).unwrap();
    let mut kubelet = socket.connect(addr).await.unwrap();
    let request = b"GET /live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    kubelet.write_all(request).await.unwrap();
    let mut answer = String::new();
    let answered = kubelet.read_to_string(&mut answer);
    let second = Duration::from_secs(1);
    tokio::time::timeout(second, answered)
        .await
        .expect("answered before a probe gives up")
        .unwrap();
    assert!(answer.ends_with("live\n"), "{answer}");
}

#[tokio::test]
async fn a_long_answer_comes_in_gzip_for_who_takes_that() {
    let long = "cats_total 2\n".repeat(1_000);
    let expected = long.clone();
    let admin = Admin::new(Readiness::new(), Registry::default())
        .metrics_source(Arc::new(move || long.clone()));
    let (addr, _trigger) = start(admin).await;
    let ask = |coding: &'static str, path: &'static str| async move {
        let mut io = TcpStream::connect(addr).await.unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: x\r\naccept-encoding: {coding}\r\nconnection: close\r\n\r\n"
        );
        io.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        io.read_to_end(&mut bytes).await.unwrap();
        let head = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
        let body = bytes.split_off(head + 4);
        (String::from_utf8(bytes).unwrap(), body)
    };
    let (head, body) = ask("deflate, gzip", "/metrics").await;
    assert!(head.contains("content-encoding: gzip\r\n"), "{head}");
    assert!(head.contains("vary: accept-encoding\r\n"), "{head}");
    assert!(body.len() < expected.len() / 10, "{}", body.len());
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&*body), &mut text).unwrap();
    assert_eq!(text, format!("{expected}# EOF\n"));

    let (head, body) = ask("identity", "/metrics").await;
    assert!(!head.contains("content-encoding"), "{head}");
    assert_eq!(body, text.as_bytes());
    let (head, _) = ask("gzip", "/live").await;
    assert!(!head.contains("content-encoding"), "{head}");
}
