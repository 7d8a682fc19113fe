//! Control planes and endpoints that are not as they should be.

use std::time::{Duration, Instant};

use tokio::net::TcpListener;

use super::sandbox::{Mesh, Peer, first_available, meshed, nobody, plain, request};

const WEB: &str = super::sandbox::WEB;
const TO: &str = "10.0.0.1:80";
const LOCAL: &str = "web.default.svc.cluster.local:80";

/// Listens, accepts, and says nothing, ever.
async fn mute() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((io, _)) = listener.accept().await {
            held.push(io);
        }
    });
    addr
}

#[tokio::test]
async fn an_endpoint_that_accepts_and_never_shakes_hands_is_left_for_another() {
    let mesh = Mesh::start().await;
    let (mute, fine) = (mute().await, mesh.peer("fine").await);
    mesh.control.policy(TO, first_available(&[LOCAL]));
    let endpoints = [meshed(mute, WEB), meshed(fine.addr, WEB)];
    mesh.control.endpoints(LOCAL, &endpoints);
    for _ in 0..10 {
        let answer = mesh.send(TO, request("POST", "once")).await.unwrap();
        assert_eq!(answer.body, "fine");
    }
    assert_eq!(fine.seen().len(), 10);
}

#[tokio::test]
async fn alone_it_is_an_error_and_not_a_hang() {
    let mesh = Mesh::with(&[("OUTBOUND_CONNECT_TIMEOUT", "200ms")]).await;
    mesh.control.policy(TO, first_available(&[LOCAL]));
    mesh.control.endpoints(LOCAL, &[meshed(mute().await, WEB)]);
    let limit = Duration::from_secs(20);
    let answer = tokio::time::timeout(limit, mesh.get(TO)).await;
    assert!(answer.expect("it hangs").is_err());
}

#[tokio::test]
async fn twenty_thousand_endpoints_in_one_message_are_used() {
    let mesh = Mesh::start().await;
    let app = Peer::start(None, "app").await;
    mesh.control.policy(TO, first_available(&[LOCAL]));
    // More than four megabytes of labels, and of all of them only one answers: it is preferred
    // soon, as nobody else can be connected to.
    let mut endpoints = vec![plain(app.addr)];
    for n in 0..20_000_u32 {
        let [_, a, b, c] = n.to_be_bytes();
        let mut endpoint = plain(([127, 200 + a, b, c], 1).into());
        let labels = (0..4).map(|k| (format!("label-{k}"), "x".repeat(64)));
        endpoint.metric_labels = labels.collect();
        endpoint.weight = 1;
        endpoints.push(endpoint);
    }
    endpoints[0].weight = 1_000_000_000;
    mesh.control.endpoints(LOCAL, &endpoints);
    let answer = mesh.get(TO).await.unwrap();
    assert_eq!(answer.body, "app");
    // They go again as they came.
    mesh.control.endpoints(LOCAL, &endpoints[..1]);
    assert_eq!(mesh.get(TO).await.unwrap().body, "app");
}

#[tokio::test]
async fn what_contradicts_what_was_said_before_holds_from_then_on() {
    let mesh = Mesh::with(&[("OUTBOUND_HTTP_FAILFAST_TIMEOUT", "100ms")]).await;
    let (first, second) = (
        Peer::start(None, "first").await,
        Peer::start(None, "second").await,
    );
    mesh.control.policy(TO, first_available(&[LOCAL]));
    // Meshed and not, there and not, the same address twice.
    mesh.control
        .endpoints(LOCAL, &[meshed(first.addr, WEB), plain(first.addr)]);
    assert_eq!(mesh.get(TO).await.unwrap().body, "first");
    for _ in 0..20 {
        mesh.control.endpoints(LOCAL, &[]);
        mesh.control.endpoints(LOCAL, &[plain(nobody().await)]);
        mesh.control
            .endpoints(LOCAL, &[plain(second.addr), plain(second.addr)]);
    }
    let started = Instant::now();
    while mesh.get(TO).await.map(|answer| answer.body).ok().as_deref() != Some("second") {
        assert!(started.elapsed() < Duration::from_secs(20), "never");
    }
    // A policy that says nothing after one that did.
    mesh.control.policy(TO, Default::default());
    while mesh.get(TO).await.is_ok() {
        assert!(started.elapsed() < Duration::from_secs(20), "never");
    }
    mesh.control.policy(TO, first_available(&[LOCAL]));
    while mesh.get(TO).await.is_err() {
        assert!(started.elapsed() < Duration::from_secs(20), "never");
    }
}
