//! What happens when somebody dies.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::Full;
use mesh_contract::headers::{PROXY_ERROR, UNPROCESSED};

use super::sandbox::{Mesh, first_available, gateway, meshed, nobody, plain, request};
use crate::Error;

const WEB: &str = super::sandbox::WEB;
const TO: &str = "10.0.0.1:80";
const LOCAL: &str = "web.default.svc.cluster.local:80";
const EAST: &str = "east.web-federated.default.svc.cluster.local:80";
const NORTH: &str = "north.web-federated.default.svc.cluster.local:80";
const AUTHORITY: &str = "web.default.svc.cluster.local:80";

#[tokio::test]
async fn p2c_prefers_the_faster_endpoint() {
    let mesh = Mesh::start().await;
    let (fast, slow) = (mesh.peer("fast").await, mesh.peer("slow").await);
    // Far from anything a busy machine adds to the other.
    slow.set_delay(Duration::from_millis(500));
    mesh.control.policy(TO, first_available(&[LOCAL]));
    let endpoints = [meshed(fast.addr, WEB), meshed(slow.addr, WEB)];
    mesh.control.endpoints(LOCAL, &endpoints);
    let spread = mesh.spread(TO, 60).await;
    assert!(spread["fast"] > 50, "{spread:?}");
}

#[tokio::test]
async fn a_failed_connect_moves_any_method_to_another_endpoint() {
    let mesh = Mesh::start().await;
    let peer = mesh.peer("alive").await;
    let app = super::sandbox::Peer::start(None, "alive").await;
    mesh.control.policy(TO, first_available(&[LOCAL]));
    for endpoints in [
        [plain(nobody().await), plain(app.addr)],
        [meshed(nobody().await, WEB), meshed(peer.addr, WEB)],
    ] {
        mesh.control.endpoints(LOCAL, &endpoints);
        for _ in 0..20 {
            let answer = mesh.send(TO, request("POST", "body")).await.unwrap();
            assert_eq!(answer.body, "alive");
        }
    }
}

#[tokio::test]
async fn a_request_in_flight_when_its_endpoint_dies_is_answered_elsewhere_if_idempotent() {
    let mesh = Mesh::start().await;
    let mut dying = mesh.peer("dying").await;
    dying.hold(true);
    mesh.control.policy(TO, first_available(&[LOCAL, EAST]));
    mesh.control.endpoints(LOCAL, &[meshed(dying.addr, WEB)]);
    let other = mesh.peer("other").await;
    mesh.control
        .endpoints(EAST, &[gateway(other.addr, WEB, AUTHORITY)]);

    let put = mesh.send(TO, request("PUT", "kept"));
    let (get, post) = (mesh.get(TO), mesh.send(TO, request("POST", "gone")));
    let kill = async {
        dying.arrived(3).await;
        dying.kill().await;
    };
    let (get, put, post, ()) = tokio::join!(get, put, post, kill);
    assert_eq!(get.unwrap().body, "other");
    assert_eq!(put.unwrap().body, "other");
    assert!(matches!(post, Err(Error::Downgraded(_))), "{post:?}");
    assert_eq!(other.seen().len(), 2, "the POST was not repeated");
}

#[tokio::test]
async fn a_request_waiting_at_an_endpoint_that_is_withdrawn_is_answered_elsewhere_if_idempotent() {
    let mesh = Mesh::start().await;
    let (hung, other) = (mesh.peer("hung").await, mesh.peer("other").await);
    hung.hold(true);
    mesh.control.policy(TO, first_available(&[LOCAL, EAST]));
    mesh.control.endpoints(LOCAL, &[meshed(hung.addr, WEB)]);
    mesh.control
        .endpoints(EAST, &[gateway(other.addr, WEB, AUTHORITY)]);
    let withdraw = async {
        hung.arrived(2).await;
        mesh.control.endpoints(LOCAL, &[]);
    };
    let get = async {
        let answer = mesh.get(TO).await;
        hung.hold(false);
        answer
    };
    let post = mesh.send(TO, request("POST", "once"));
    let (get, post, ()) = tokio::join!(get, post, withdraw);
    assert_eq!(get.unwrap().body, "other");
    assert_eq!(post.unwrap().body, "hung", "a drain ends what it has");
    assert_eq!(other.seen().len(), 1, "the POST was not repeated");
}

#[tokio::test]
async fn a_request_waiting_at_the_last_endpoint_waits_on_after_it_is_withdrawn() {
    let mesh = Mesh::start().await;
    let slow = mesh.peer("slow").await;
    slow.hold(true);
    mesh.control.policy(TO, first_available(&[LOCAL]));
    mesh.control.endpoints(LOCAL, &[meshed(slow.addr, WEB)]);
    let mut get = std::pin::pin!(mesh.get(TO));
    tokio::select! {
        answer = &mut get => panic!("{answer:?}"),
        () = slow.arrived(1) => mesh.control.endpoints(LOCAL, &[]),
    }
    let longer_than_its_grace = Duration::from_millis(1500);
    let early = tokio::time::timeout(longer_than_its_grace, &mut get).await;
    assert!(early.is_err(), "{early:?}");
    slow.hold(false);
    assert_eq!(get.await.unwrap().body, "slow");
}

#[tokio::test]
async fn first_available_fails_over_and_comes_back_gradually() {
    let mesh = Mesh::start().await;
    let mut local = mesh.peer("local").await;
    let east = mesh.peer("east").await;
    mesh.control.policy(TO, first_available(&[LOCAL, EAST]));
    mesh.control.endpoints(LOCAL, &[meshed(local.addr, WEB)]);
    mesh.control
        .endpoints(EAST, &[gateway(east.addr, WEB, AUTHORITY)]);
    assert_eq!(mesh.spread(TO, 20).await["local"], 20, "local first");

    local.kill().await;
    assert_eq!(mesh.spread(TO, 20).await["east"], 20, "no request fails");

    local.restart().await;
    let returned = wait_for(|| async { mesh.get(TO).await.unwrap().body == "local" }).await;
    assert!(returned < Duration::from_secs(5), "{returned:?}");
    let spread = mesh.spread(TO, 100).await;
    assert!(
        spread.get("east").copied().unwrap_or(0) > 30,
        "not everything at once: {spread:?}"
    );
    wait_for(|| async { !mesh.spread(TO, 20).await.contains_key("east") }).await;
}

#[tokio::test]
async fn a_backend_without_endpoints_is_passed_over_at_once() {
    let mesh = Mesh::start().await;
    let east = mesh.peer("east").await;
    mesh.control.policy(TO, first_available(&[LOCAL, EAST]));
    mesh.control.endpoints(LOCAL, &[]);
    mesh.control
        .endpoints(EAST, &[gateway(east.addr, WEB, AUTHORITY)]);
    let start = Instant::now();
    assert_eq!(mesh.get(TO).await.unwrap().body, "east");
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn a_frozen_gateway_is_left_within_three_seconds_and_nothing_fails() {
    let mesh = Mesh::start().await;
    let (east, north) = (mesh.peer("east").await, mesh.peer("north").await);
    mesh.control.policy(TO, first_available(&[EAST, NORTH]));
    mesh.control
        .endpoints(EAST, &[gateway(east.addr, WEB, AUTHORITY)]);
    mesh.control
        .endpoints(NORTH, &[gateway(north.addr, WEB, AUTHORITY)]);
    assert_eq!(mesh.get(TO).await.unwrap().body, "east");

    east.freeze(true);
    let start = Instant::now();
    let answers = futures::future::join_all((0..50).map(|_| mesh.get(TO))).await;
    for answer in answers {
        assert_eq!(answer.unwrap().body, "north");
    }
    let shifted = start.elapsed();
    assert!(shifted < Duration::from_millis(2800), "{shifted:?}");
    let start = Instant::now();
    assert_eq!(mesh.get(TO).await.unwrap().body, "north");
    assert!(start.elapsed() < Duration::from_millis(300), "it is known");
}

#[tokio::test]
async fn an_error_of_a_gateway_moves_idempotent_requests_to_another_cluster() {
    let mesh = Mesh::start().await;
    let (east, north) = (mesh.peer("east").await, mesh.peer("north").await);
    east.respond(|_| {
        http::Response::builder()
            .status(503)
            .header(PROXY_ERROR, "no endpoints")
            .body(Full::from(Bytes::new()))
            .unwrap()
    });
    mesh.control.policy(TO, first_available(&[EAST, NORTH]));
    // Two gateway replicas of one cluster: neither is asked after the other has failed.
    let gateways = [
        gateway(east.addr, WEB, AUTHORITY),
        gateway(([127, 0, 0, 2], east.addr.port()).into(), WEB, AUTHORITY),
    ];
    mesh.control.endpoints(EAST, &gateways[..1]);
    mesh.control
        .endpoints(NORTH, &[gateway(north.addr, WEB, AUTHORITY)]);
    assert_eq!(mesh.get(TO).await.unwrap().body, "north");
    assert_eq!(east.seen().len(), 1);

    let answer = mesh.send(TO, request("POST", "")).await.unwrap();
    assert_eq!(answer.status, 503);
    assert!(
        !answer.headers.contains_key(PROXY_ERROR),
        "applications do not see it"
    );
    // The application's own 503 is its answer.
    east.respond(|_| {
        let body = Full::from(Bytes::from_static(b"busy"));
        http::Response::builder().status(503).body(body).unwrap()
    });
    let own = wait_for(|| async { mesh.get(TO).await.unwrap().body == "busy" }).await;
    assert!(own < Duration::from_secs(5));
}

#[tokio::test]
async fn what_a_peer_proxy_says_nobody_worked_on_moves_whatever_the_method() {
    let mesh = Mesh::start().await;
    let (east, north) = (mesh.peer("east").await, mesh.peer("north").await);
    mesh.control.policy(TO, first_available(&[EAST, NORTH]));
    mesh.control
        .endpoints(EAST, &[gateway(east.addr, WEB, AUTHORITY)]);
    mesh.control
        .endpoints(NORTH, &[gateway(north.addr, WEB, AUTHORITY)]);
    // Its application is dead; the name is not exported any more.
    for status in [502, 404] {
        east.respond(move |_| {
            http::Response::builder()
                .status(status)
                .header(PROXY_ERROR, "connection refused")
                .header(UNPROCESSED, "true")
                .body(Full::from(Bytes::new()))
                .unwrap()
        });
        let answer = mesh.send(TO, request("POST", "once")).await.unwrap();
        assert_eq!(answer.body, "north", "{status}");
        let asked = east.seen().len();
        assert_eq!(asked, if status == 502 { 1 } else { 2 });
    }
    // Where nobody else is, the answer is the answer, and the application sees no more than that.
    mesh.control.endpoints(NORTH, &[]);
    let told = |answer: super::sandbox::Answer| {
        answer.status == 404 && !answer.headers.contains_key(UNPROCESSED)
    };
    wait_for(|| async { mesh.get(TO).await.is_ok_and(told) }).await;
}

#[tokio::test]
async fn a_grpc_failure_of_a_peer_proxy_is_a_failure_of_its_endpoint() {
    let mesh = Mesh::start().await;
    let (bad, good) = (mesh.peer("bad").await, mesh.peer("good").await);
    bad.respond(|_| {
        http::Response::builder()
            .header("content-type", "application/grpc")
            .header("grpc-status", "14")
            .header(PROXY_ERROR, "connection refused")
            .body(Full::from(Bytes::new()))
            .unwrap()
    });
    mesh.control.policy(TO, first_available(&[LOCAL]));
    mesh.control
        .endpoints(LOCAL, &[meshed(bad.addr, WEB), meshed(good.addr, WEB)]);
    assert_eq!(mesh.spread(TO, 50).await["good"], 50);
}

#[tokio::test]
async fn failures_in_a_row_take_an_endpoint_out() {
    let mesh = Mesh::start().await;
    let (bad, good) = (mesh.peer("bad").await, mesh.peer("good").await);
    bad.respond(|_| {
        http::Response::builder()
            .status(502)
            .header(PROXY_ERROR, "connection refused")
            .body(Full::from(Bytes::new()))
            .unwrap()
    });
    mesh.control.policy(TO, first_available(&[LOCAL]));
    mesh.control
        .endpoints(LOCAL, &[meshed(bad.addr, WEB), meshed(good.addr, WEB)]);
    let start = Instant::now();
    let spread = mesh.spread(TO, 100).await;
    assert_eq!(spread["good"], 100);
    let probes = start.elapsed().as_secs() as usize;
    assert!(bad.seen().len() <= 3 + probes, "{}", bad.seen().len());
}

#[tokio::test]
async fn a_service_without_a_ready_endpoint_fails_after_the_timeout_and_then_at_once() {
    let timeout = [("OUTBOUND_HTTP_FAILFAST_TIMEOUT", "300ms")];
    let mesh = Mesh::with(&timeout).await;
    mesh.control.policy(TO, first_available(&[LOCAL]));
    mesh.control.endpoints(LOCAL, &[]);
    let start = Instant::now();
    let failed = mesh.get(TO).await;
    assert!(matches!(failed, Err(Error::FailFast(_))), "{failed:?}");
    assert!(start.elapsed() >= Duration::from_millis(300));
    let start = Instant::now();
    assert!(mesh.get(TO).await.is_err());
    assert!(start.elapsed() < Duration::from_millis(200));
    // And it ends as soon as there is somebody.
    let peer = mesh.peer("late").await;
    mesh.control.endpoints(LOCAL, &[meshed(peer.addr, WEB)]);
    wait_for(|| async { mesh.get(TO).await.is_ok() }).await;
}

#[tokio::test]
async fn endpoints_survive_an_absent_control_plane_and_are_reconciled_after() {
    let mesh = Mesh::start().await;
    let (old, new) = (mesh.peer("old").await, mesh.peer("new").await);
    mesh.control.policy(TO, first_available(&[LOCAL]));
    mesh.control.endpoints(LOCAL, &[meshed(old.addr, WEB)]);
    assert_eq!(mesh.get(TO).await.unwrap().body, "old");
    mesh.control.set_away(true);
    mesh.control.cut();
    assert_eq!(mesh.spread(TO, 20).await["old"], 20);
    mesh.control.endpoints(LOCAL, &[meshed(new.addr, WEB)]);
    assert_eq!(mesh.spread(TO, 20).await["old"], 20);
    mesh.control.set_away(false);
    wait_for(|| async { mesh.get(TO).await.unwrap().body == "new" }).await;
    assert_eq!(mesh.spread(TO, 20).await["new"], 20, "the old one is gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_steady_load_no_request_fails_while_clusters_die_and_return() {
    let mesh = Mesh::start().await;
    let (mut local, mut east) = (mesh.peer("local").await, mesh.peer("east").await);
    let north = mesh.peer("north").await;
    mesh.control
        .policy(TO, first_available(&[LOCAL, EAST, NORTH]));
    mesh.control.endpoints(LOCAL, &[meshed(local.addr, WEB)]);
    mesh.control
        .endpoints(EAST, &[gateway(east.addr, WEB, AUTHORITY)]);
    mesh.control
        .endpoints(NORTH, &[gateway(north.addr, WEB, AUTHORITY)]);
    let done = AtomicBool::new(false);
    let load = || async {
        let mut sent = 0;
        while !done.load(Ordering::Relaxed) {
            let answer = mesh.get(TO).await.unwrap();
            assert_eq!(answer.status, 200);
            sent += 1;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        sent
    };
    let answers = |name: &'static str| {
        let mesh = &mesh;
        wait_for(move || async move {
            let spread = mesh.spread(TO, 20).await;
            spread.get(name) == Some(&20)
        })
    };
    let faults = async {
        answers("local").await;
        local.kill().await;
        answers("east").await;
        east.kill().await;
        answers("north").await;
        east.restart().await;
        answers("east").await;
        local.restart().await;
        answers("local").await;
        done.store(true, Ordering::Relaxed);
    };
    let load = futures::future::join_all((0..32).map(|_| load()));
    let (sent, ()) = tokio::join!(load, faults);
    assert!(sent.iter().sum::<usize>() > 500, "{sent:?}");
}

/// Waits until `claim` holds and says how long that took.
async fn wait_for<F: Future<Output = bool>>(mut claim: impl FnMut() -> F) -> Duration {
    let start = Instant::now();
    while !claim().await {
        assert!(start.elapsed() < Duration::from_secs(20), "never happened");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    start.elapsed()
}
