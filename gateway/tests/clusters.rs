//! Two clusters in one process, with real sidecars and a real gateway: a client in west, a
//! gateway and an application in east, and a scripted control plane for each.

#![allow(clippy::unwrap_used, clippy::panic)] // A test fails by panicking.

mod sandbox;

use std::time::Duration;

use sandbox::{Answer, CLIENT, Clusters, GATEWAY, ping};
use tokio::{io::AsyncReadExt, net::TcpStream, time::timeout};

#[tokio::test]
async fn a_request_crosses_clusters_and_says_who_vouches_for_it() {
    let clusters = Clusters::start().await;
    let Answer { status, text } = clusters.get("web", &[("forwarded", "for=root")]).await;
    assert_eq!(status, 200, "{text}");
    // The application's proxy saw the gateway; what the client wrote is only kept as a note.
    assert!(
        text.contains(&format!("l5d-client-id: {GATEWAY}")),
        "{text}"
    );
    assert!(text.contains("forwarded: for=root"), "{text}");
    let note = format!(
        "forwarded: by={GATEWAY};for={CLIENT};host=web.default.svc.cluster.local;proto=https"
    );
    assert!(text.contains(&note), "{text}");
    assert!(
        text.contains("host: web.default.svc.cluster.local\n"),
        "{text}"
    );
    assert!(text.starts_with("GET /path HTTP/1.1\n"), "{text}");
}

#[tokio::test]
async fn names_that_are_not_exported_and_names_of_others_are_not_found() {
    let clusters = Clusters::start().await;
    assert_eq!(clusters.get("secret", &[]).await.status, 404);
    assert_eq!(clusters.get("elsewhere", &[]).await.status, 404);
    // And one that is exported later is found then.
    clusters.export("secret");
    let found = async {
        while clusters.get("secret", &[]).await.status != 200 {
            tokio::task::yield_now().await;
        }
    };
    let limit = std::time::Duration::from_secs(10);
    tokio::time::timeout(limit, found).await.unwrap();
}

#[tokio::test]
async fn a_name_is_one_name_however_it_is_written_and_nothing_else() {
    let clusters = Clusters::start().await;
    for name in [
        "WEB.default.svc.cluster.local",
        "web.default.svc.cluster.local.",
    ] {
        let answer = clusters.direct(CLIENT, name, true).await;
        assert!(answer.contains(" 200 "), "{name}: {answer}");
        // The application is told the plain name, whatever the client wrote.
        assert!(
            answer.contains("host: web.default.svc.cluster.local\n"),
            "{answer}"
        );
    }
    for name in [
        "SECRET.default.svc.cluster.local.",
        "web.default.svc",
        "web",
        "xsvc.cluster.local",
        "svc.cluster.local",
        "localhost",
        "127.0.0.1",
    ] {
        let answer = clusters.direct(CLIENT, name, true).await;
        assert!(answer.contains(" 404 "), "{name}: {answer}");
        assert_eq!(clusters.direct(CLIENT, name, false).await, "", "{name}");
    }
    for name in [
        "web..default.svc.cluster.local",
        "w\u{e9}b.svc.cluster.local",
        "a b",
    ] {
        assert_eq!(clusters.direct(CLIENT, name, true).await, "", "{name}");
    }
}

#[tokio::test]
async fn loops_are_refused() {
    let clusters = Clusters::start().await;
    let passed = format!("by={GATEWAY};for=x");
    assert_eq!(
        clusters.get("web", &[("forwarded", &passed)]).await.status,
        508
    );
    // The gateway itself as a client.
    let name = "web.default.svc.cluster.local";
    let answer = clusters.direct(GATEWAY, name, true).await;
    assert!(answer.contains(" 508 "), "{answer}");
    assert_eq!(clusters.direct(GATEWAY, name, false).await, "");
    // Anybody else is welcome, here as through a sidecar.
    let answer = clusters.direct(CLIENT, name, true).await;
    assert!(answer.contains(" 200 "), "{answer}");
}

#[tokio::test]
async fn a_client_that_goes_with_many_requests_in_flight_costs_the_others_nothing() {
    let clusters = Clusters::start().await;
    assert_eq!(clusters.get("web", &[]).await.status, 200);
    for _ in 0..5 {
        clusters.abandon(300).await;
        for _ in 0..10 {
            let Answer { status, text } = clusters.get("web", &[]).await;
            assert_eq!(status, 200, "{text}");
        }
    }
}

#[tokio::test]
async fn bytes_cross_clusters_too() {
    let clusters = Clusters::start().await;
    let answer = clusters.bytes("web", "not HTTP, just bytes").await;
    assert_eq!(answer, "echo: not HTTP, just bytes");
}

#[tokio::test]
async fn a_gateway_without_endpoints_says_so_at_once() {
    let clusters = Clusters::start().await;
    clusters.remove("web");
    let start = std::time::Instant::now();
    let answer = async {
        loop {
            let answer = clusters.get("web", &[]).await;
            if answer.status != 200 {
                return answer.status;
            }
        }
    };
    assert_eq!(answer.await, 504);
    assert!(start.elapsed() < std::time::Duration::from_secs(2));
}

/// What is read until the connection ends, which it must do by itself.
async fn until_cut(io: &mut TcpStream) -> String {
    let mut rest = Vec::new();
    let ended = timeout(Duration::from_secs(20), io.read_to_end(&mut rest)).await;
    // However it ends, a reset included.
    let _ = ended.expect("it goes on");
    String::from_utf8(rest).unwrap()
}

#[tokio::test]
async fn a_tunnel_ends_when_its_service_is_withdrawn_and_others_go_on() {
    let clusters = Clusters::start().await;
    clusters.export("secret");
    let (mut web, mut secret) = (
        clusters.tunnel("web").await,
        clusters.tunnel("secret").await,
    );
    ping(&mut web).await;
    ping(&mut secret).await;
    clusters.withdraw("secret");
    assert_eq!(until_cut(&mut secret).await, "");
    ping(&mut web).await;
    assert_eq!(clusters.get("secret", &[]).await.status, 404);
}

#[tokio::test]
async fn an_upgraded_connection_ends_when_its_service_is_withdrawn() {
    let clusters = Clusters::start().await;
    let headers = "connection: upgrade\r\nupgrade: chat\r\n";
    let (head, mut io) = clusters.open("web", "/chat", headers).await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    ping(&mut io).await;
    clusters.withdraw("web");
    assert_eq!(until_cut(&mut io).await, "");
}

#[tokio::test]
async fn a_response_that_has_begun_breaks_off_when_its_service_is_withdrawn() {
    let clusters = Clusters::start().await;
    let (head, mut io) = clusters.open("web", "/begin", "").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    clusters.withdraw("web");
    assert_eq!(until_cut(&mut io).await, "begun");
}

#[tokio::test]
async fn a_request_in_flight_is_answered_with_503_when_its_service_is_withdrawn() {
    let clusters = Clusters::start().await;
    // The way is known, so that the request is not refused on it.
    assert_eq!(clusters.get("web", &[]).await.status, 200);
    let waiting = clusters.open("web", "/wait", "");
    let withdrawn = async {
        clusters.waited().await;
        clusters.withdraw("web");
    };
    let ((head, _), ()) = timeout(Duration::from_secs(20), async {
        tokio::join!(waiting, withdrawn)
    })
    .await
    .expect("it waits on");
    assert!(head.starts_with("HTTP/1.1 503"), "{head}");
}

#[tokio::test]
async fn a_gateway_serves_nothing_once_its_lease_has_lapsed_until_it_hears_again() {
    let clusters = Clusters::start().await;
    let mut tunnel = clusters.tunnel("web").await;
    ping(&mut tunnel).await;
    clusters.lease(1);
    assert_eq!(until_cut(&mut tunnel).await, "");
    let name = "web.default.svc.cluster.local";
    let refused = clusters.direct(CLIENT, name, true).await;
    assert!(refused.contains(" 503 "), "{refused}");
    // So that a proxy asks another cluster.
    assert!(refused.contains("l5d-proxy-error: load shed: the gateway's control plane"));
    clusters.lease(3600);
    let served = async {
        while !clusters.direct(CLIENT, name, true).await.contains(" 200 ") {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), served).await.unwrap();
}
