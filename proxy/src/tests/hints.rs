//! What sidecars tell each other of a connection, by what the control plane says of the port.

use linkerd2_proxy_api::destination::protocol_hint::{H2, Opaque, Protocol};

use super::wire::{Talk, Way, Wire};

/// How many connections with a transport header for this session, and requests, the application's
/// sidecar has counted.
async fn counted(wire: &Wire, session: &str) -> (usize, usize) {
    let series = wire.series().await;
    let count = |name: &str, label: &str| {
        let found = series
            .iter()
            .filter(|line| line.starts_with(name) && line.contains(label));
        found.count()
    };
    let header = "inbound_tcp_transport_header_connections_total{";
    let session = format!("session_protocol=\"{session}\"");
    let requests = series.iter().filter(|line| {
        line.starts_with("request_total{direction=\"inbound\"") && line.contains(&wire.target())
    });
    (count(header, &session), requests.count())
}

#[tokio::test]
async fn http_for_a_port_of_bytes_arrives_as_bytes_nobody_looks_at() {
    let wire = Wire::hinted(Way::Two, Protocol::Opaque(Opaque {})).await;
    let (seen, answer) = wire.exchange(Talk::default()).await;
    assert!(seen.starts_with("GET / HTTP/1.1\r\n"), "{seen}");
    assert!(seen.contains("host: web\r\n"), "{seen}");
    // Nobody on the way could have put it there.
    assert!(!seen.contains("l5d-"), "{seen}");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(counted(&wire, "").await, (1, 0));
    assert_eq!(counted(&wire, "http/2").await, (0, 0));
}

#[tokio::test]
async fn http_for_a_port_of_http2_arrives_as_it_left_though_it_is_upgraded_on_the_way() {
    let wire = Wire::hinted(Way::Two, Protocol::H2(H2 {})).await;
    let (seen, answer) = wire.exchange(Talk::default()).await;
    assert!(seen.starts_with("GET / HTTP/1.1\r\n"), "{seen}");
    assert!(seen.contains("l5d-client-id"), "{seen}");
    assert!(!seen.contains("l5d-orig-proto"), "{seen}");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(counted(&wire, "http/2").await, (1, 1));
    assert_eq!(counted(&wire, "").await, (0, 1));
}
