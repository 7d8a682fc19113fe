//! ServiceProfiles, from the control plane's answer to where requests go.

use std::time::{Duration, Instant};

use ::http::{Response, StatusCode};
use http_body_util::Full;
use linkerd2_proxy_api::destination::{
    DestinationProfile, PathMatch, RequestMatch, RetryBudget, Route, WeightedDst, request_match,
};

use super::sandbox::{Mesh, Peer, first_available, plain, request, seconds};
use crate::inbound::tests::sandbox::eventually;

const TO: &str = "10.0.0.1:80";
const APEX: &str = "web.default.svc.cluster.local:80";
const LEAF: &str = "web-next.default.svc.cluster.local:80";
const OTHER: &str = "web-old.default.svc.cluster.local:80";

/// A mesh in which the addresses of Services have profiles, and three applications.
pub(super) async fn mesh() -> (Mesh, [Peer; 3]) {
    mesh_of(Mesh::with(&[("DESTINATION_PROFILE_NETWORKS", "10.0.0.0/8")]).await).await
}

/// The same with a configuration of the test's choice.
pub(super) async fn mesh_of(mesh: Mesh) -> (Mesh, [Peer; 3]) {
    let peers = [
        Peer::start(None, "apex").await,
        Peer::start(None, "leaf").await,
        Peer::start(None, "other").await,
    ];
    mesh.control.policy(TO, first_available(&[APEX]));
    for (path, peer) in [APEX, LEAF, OTHER].into_iter().zip(&peers) {
        mesh.control.endpoints(path, &[plain(peer.addr)]);
    }
    (mesh, peers)
}

pub(super) fn profile(overrides: &[(&str, u32)]) -> DestinationProfile {
    let weighted = |(authority, weight): &(&str, u32)| WeightedDst {
        authority: (*authority).to_owned(),
        weight: *weight,
        ..Default::default()
    };
    DestinationProfile {
        fully_qualified_name: "web.default.svc.cluster.local".into(),
        dst_overrides: overrides.iter().map(weighted).collect(),
        ..Default::default()
    }
}

#[tokio::test]
async fn overrides_take_the_traffic_and_give_it_back() {
    let (mesh, _peers) = mesh().await;
    // Who of them gets requests.
    let served = async |n| mesh.spread(TO, n).await.into_keys().collect::<Vec<_>>();
    mesh.control.profile(TO, profile(&[(LEAF, 10_000)]));
    assert_eq!(served(10).await, ["leaf"]);
    for (overrides, expected) in [
        (&[(LEAF, 1), (OTHER, 1)][..], &["leaf", "other"][..]),
        (&[(LEAF, 0), (OTHER, 1)], &["other"]),
        (&[(LEAF, 0), (OTHER, 0)], &["apex"]),
        (&[(LEAF, 1)], &["leaf"]),
        (&[], &["apex"]),
    ] {
        mesh.control.profile(TO, profile(overrides));
        eventually("the change arrives", || async {
            served(40).await == expected
        })
        .await;
    }
}

/// Every path below `/path`.
pub(super) fn route() -> Route {
    Route {
        condition: matching("/path.*"),
        ..Default::default()
    }
}

/// Paths like `regex`.
pub(super) fn matching(regex: &str) -> Option<RequestMatch> {
    let path = PathMatch {
        regex: regex.to_owned(),
    };
    Some(RequestMatch {
        r#match: Some(request_match::Match::Path(path)),
    })
}

/// Fails every second request, the first included.
fn failing_every_other(peer: &Peer) {
    let asked = std::sync::atomic::AtomicUsize::new(0);
    peer.respond(move |_| {
        let n = asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let mut response = Response::new(Full::from("answer"));
        if n.is_multiple_of(2) {
            *response.status_mut() = StatusCode::from_u16(533).unwrap();
        }
        response
    });
}

#[tokio::test]
async fn a_route_is_retried_if_its_profile_says_so_and_has_a_budget() {
    let budget = |min_retries_per_second| RetryBudget {
        retry_ratio: 0.0,
        min_retries_per_second,
        ttl: Some(seconds(10)),
    };
    for (retryable, budget, status) in [
        (true, Some(budget(10)), 200),
        (false, Some(budget(10)), 533),
        // A budget that says nothing is one of the usual size; one of nothing is used up at once.
        (true, Some(budget(0)), 533),
    ] {
        let (mesh, peers) = mesh().await;
        failing_every_other(&peers[0]);
        let route = Route {
            is_retryable: retryable,
            ..route()
        };
        let profile = DestinationProfile {
            routes: vec![route],
            retry_budget: budget,
            ..profile(&[])
        };
        mesh.control.profile(TO, profile);
        let answer = mesh.send(TO, request("POST", "small")).await.unwrap();
        assert_eq!(answer.status, status, "{retryable} {budget:?}");
    }
}

#[tokio::test]
async fn a_route_has_the_time_its_profile_says() {
    let (mesh, peers) = mesh().await;
    peers[0].hold(true);
    let route = Route {
        timeout: Some(prost_types::Duration {
            seconds: 0,
            nanos: 100_000_000,
        }),
        ..route()
    };
    mesh.control.profile(
        TO,
        DestinationProfile {
            routes: vec![route],
            ..profile(&[])
        },
    );
    let began = Instant::now();
    let error = mesh.get(TO).await.unwrap_err();
    assert_eq!(crate::http::rescue::status(&error), 504, "{error}");
    assert!(began.elapsed() >= Duration::from_millis(100));
}
