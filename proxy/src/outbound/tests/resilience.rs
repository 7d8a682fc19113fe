//! What policies say of timeouts, retries, weights and failing endpoints.

use std::time::Duration;

use ::http::{Response, StatusCode};
use http_body_util::Full;
use linkerd2_proxy_api::{
    destination::WeightedAddr,
    http_route::Timeouts,
    outbound::{
        self as api, ExponentialBackoff, FailureAccrual, OutboundPolicy,
        failure_accrual::{ConsecutiveFailures, Kind, Unified},
        http_route::{Retry, Rule, retry},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::sandbox::{Mesh, Peer, first_available, plain, request};
use crate::{Error, http::server::Close};

const TO: &str = "10.0.0.1:80";
const LOCAL: &str = "web.default.svc.cluster.local:80";

fn millis(ms: i32) -> Option<prost_types::Duration> {
    Some(prost_types::Duration {
        seconds: 0,
        nanos: ms * 1_000_000,
    })
}

/// One route over [`LOCAL`] with its rule changed.
fn policy(change: impl Fn(&mut Rule)) -> OutboundPolicy {
    let mut policy = first_available(&[LOCAL]);
    for routes in routes(&mut policy) {
        change(&mut routes[0].rules[0]);
    }
    policy
}

pub(super) fn routes(policy: &mut OutboundPolicy) -> [&mut Vec<api::HttpRoute>; 2] {
    match policy.protocol.as_mut().unwrap().kind.as_mut().unwrap() {
        api::proxy_protocol::Kind::Detect(detect) => [
            &mut detect.http1.as_mut().unwrap().routes,
            &mut detect.http2.as_mut().unwrap().routes,
        ],
        other => panic!("{other:?}"),
    }
}

pub(super) fn judged(accrual: FailureAccrual) -> OutboundPolicy {
    let mut policy = first_available(&[LOCAL]);
    match policy.protocol.as_mut().unwrap().kind.as_mut().unwrap() {
        api::proxy_protocol::Kind::Detect(detect) => {
            detect.http1.as_mut().unwrap().failure_accrual = Some(accrual);
            detect.http2.as_mut().unwrap().failure_accrual = Some(accrual);
        }
        other => panic!("{other:?}"),
    }
    policy
}

fn on_5xx(max_retries: u32) -> Option<Retry> {
    Some(Retry {
        max_retries,
        max_request_bytes: 1024,
        conditions: Some(retry::Conditions {
            status_ranges: vec![retry::conditions::StatusRange {
                start: 500,
                end: 599,
            }],
        }),
        ..Default::default()
    })
}

async fn app(name: &'static str) -> Peer {
    Peer::start(None, name).await
}

fn failing(peer: &Peer, status: u16) {
    peer.respond(move |_| {
        let mut response = Response::new(Full::from("failed"));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        response
    });
}

/// Answers every request with the beginning of a response, and no more.
pub(super) async fn stuck(head: &'static str) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut io, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut bytes = [0; 4096];
                let _ = io.read(&mut bytes).await;
                let _ = io.write_all(head.as_bytes()).await;
                // Until the client has enough of it.
                let _ = io.read(&mut bytes).await;
            });
        }
    });
    addr
}

/// How a GET ended for which everything but `limits` is unlimited.
async fn limited(limits: Timeouts, head: &'static str) -> String {
    let mesh = Mesh::start().await;
    mesh.control
        .policy(TO, policy(|rule| rule.timeouts = Some(limits)));
    mesh.control.endpoints(LOCAL, &[plain(stuck(head).await)]);
    match mesh.get(TO).await {
        Err(error) => error.to_string(),
        Ok(answer) => panic!("{answer:?}"),
    }
}

#[tokio::test]
async fn a_limit_ends_a_request_before_and_after_its_response_began() {
    const BEGUN: &str = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345";
    for head in ["", BEGUN] {
        let request = Timeouts {
            request: millis(100),
            ..Default::default()
        };
        assert_eq!(
            limited(request, head).await,
            "request timed out after 100ms"
        );
        let response = Timeouts {
            response: millis(100),
            ..Default::default()
        };
        assert_eq!(
            limited(response, head).await,
            "response timed out after 100ms"
        );
        let idle = Timeouts {
            idle: millis(100),
            ..Default::default()
        };
        assert_eq!(
            limited(idle, head).await,
            "idle stream timed out after 100ms"
        );
    }
}

#[tokio::test]
async fn an_answer_the_route_does_not_want_is_asked_for_elsewhere_whatever_the_method() {
    let mesh = Mesh::start().await;
    let (good, bad) = (app("good").await, app("bad").await);
    failing(&bad, 503);
    mesh.control
        .policy(TO, policy(|rule| rule.retry = on_5xx(1)));
    mesh.control
        .endpoints(LOCAL, &[plain(good.addr), plain(bad.addr)]);
    for _ in 0..20 {
        let answer = mesh.send(TO, request("POST", "body")).await.unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (200, "good"));
    }
    assert!(!bad.seen().is_empty(), "it was asked, too");
}

#[tokio::test]
async fn a_route_asks_no_more_often_than_it_says_and_the_last_answer_counts() {
    let mesh = Mesh::start().await;
    let bad = app("bad").await;
    failing(&bad, 500);
    mesh.control
        .policy(TO, policy(|rule| rule.retry = on_5xx(2)));
    mesh.control.endpoints(LOCAL, &[plain(bad.addr)]);
    let answer = mesh.send(TO, request("POST", "body")).await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (500, "failed"));
    assert_eq!(bad.seen().len(), 3);
}

#[tokio::test]
async fn an_attempt_that_takes_too_long_is_made_elsewhere_but_the_last_one_has_its_time() {
    let mesh = Mesh::start().await;
    let slow = app("slow").await;
    slow.set_delay(Duration::from_millis(400));
    mesh.control.policy(
        TO,
        policy(|rule| {
            let retry = on_5xx(1).unwrap();
            rule.retry = Some(Retry {
                timeout: millis(100),
                ..retry
            });
        }),
    );
    mesh.control.endpoints(LOCAL, &[plain(slow.addr)]);
    let answer = mesh.get(TO).await.unwrap();
    assert_eq!(answer.body, "slow");
    assert_eq!(slow.seen().len(), 2);
    let quick = app("quick").await;
    mesh.control
        .endpoints(LOCAL, &[plain(slow.addr), plain(quick.addr)]);
    let mut answers = Vec::new();
    for _ in 0..10 {
        answers.push(mesh.get(TO).await.unwrap().body);
    }
    assert!(answers.contains(&"quick".to_owned()), "{answers:?}");
}

#[tokio::test]
async fn a_request_may_ask_for_retries_and_limits_where_its_route_allows_it() {
    let mesh = Mesh::start().await;
    let peer = app("web").await;
    failing(&peer, 500);
    mesh.control.endpoints(LOCAL, &[plain(peer.addr)]);
    let asking = || {
        let mut request = request("GET", "");
        let headers = request.headers_mut();
        headers.insert("l5d-retry-http", "5xx".parse().unwrap());
        headers.insert("l5d-retry-limit", "2".parse().unwrap());
        headers.insert("l5d-timeout", "2s".parse().unwrap());
        request
    };
    mesh.control.policy(TO, policy(|_| {}));
    mesh.send(TO, asking()).await.unwrap();
    assert_eq!(peer.seen().len(), 1);
    assert!(peer.seen()[0].headers.contains_key("l5d-retry-http"));

    const ALLOWED: &str = "10.0.0.2:80";
    mesh.control.policy(
        ALLOWED,
        policy(|rule| rule.allow_l5d_request_headers = true),
    );
    mesh.send(ALLOWED, asking()).await.unwrap();
    assert_eq!(peer.seen().len(), 4);
    assert!(!peer.seen()[3].headers.contains_key("l5d-retry-http"));
    peer.hold(true);
    let error = mesh.send(ALLOWED, asking()).await.unwrap_err();
    assert_eq!(error.to_string(), "request timed out after 2s");
}

#[tokio::test]
async fn endpoints_get_their_weights_share() {
    let mesh = Mesh::start().await;
    let (heavy, light, none) = (app("heavy").await, app("light").await, app("none").await);
    mesh.control.policy(TO, first_available(&[LOCAL]));
    let weighted = |peer: &Peer, weight| linkerd2_proxy_api::destination::WeightedAddr {
        weight,
        ..plain(peer.addr)
    };
    let endpoints = [
        weighted(&heavy, 9000),
        weighted(&light, 1000),
        weighted(&none, 0),
    ];
    mesh.control.endpoints(LOCAL, &endpoints);
    let spread = mesh.spread(TO, 300).await;
    assert!(spread["light"] < 100, "{spread:?}");
    assert!(spread["light"] > 0, "{spread:?}");
    assert!(!spread.contains_key("none"), "{spread:?}");
    // Weights that change cost no connection.
    let before = heavy.headers().len();
    let endpoints = [
        weighted(&heavy, 1),
        weighted(&light, 9999),
        weighted(&none, 0),
    ];
    mesh.control.endpoints(LOCAL, &endpoints);
    loop {
        let spread = mesh.spread(TO, 100).await;
        if spread.get("heavy").copied().unwrap_or_default() < 20 {
            break;
        }
    }
    assert_eq!(heavy.headers().len(), before);
}

fn backoff(seconds: i64) -> Option<ExponentialBackoff> {
    let pause = Some(prost_types::Duration { seconds, nanos: 0 });
    Some(ExponentialBackoff {
        min_backoff: pause,
        max_backoff: pause,
        ..Default::default()
    })
}

#[tokio::test]
async fn an_endpoint_whose_application_fails_is_taken_out_if_the_policy_says_so() {
    let accrual = FailureAccrual {
        kind: Some(Kind::ConsecutiveFailures(ConsecutiveFailures {
            max_failures: 3,
            backoff: backoff(60),
        })),
        ejection: None,
    };
    let mesh = Mesh::start().await;
    let (good, bad) = (app("good").await, app("bad").await);
    failing(&bad, 500);
    mesh.control.policy(TO, judged(accrual));
    mesh.control
        .endpoints(LOCAL, &[plain(good.addr), plain(bad.addr)]);
    mesh.spread(TO, 200).await;
    assert_eq!(bad.seen().len(), 3);
}

#[tokio::test]
async fn an_endpoint_that_pleads_for_less_is_taken_out_by_its_success_rate() {
    let accrual = FailureAccrual {
        kind: Some(Kind::Unified(Unified {
            success_rate_threshold: 0.8,
            min_requests: 5,
            decay: Some(prost_types::Duration {
                seconds: 10,
                nanos: 0,
            }),
            max_consecutive_failures: 0,
            backoff: backoff(60),
        })),
        ejection: None,
    };
    let mesh = Mesh::start().await;
    let (good, bad) = (app("good").await, app("bad").await);
    failing(&bad, 429);
    mesh.control.policy(TO, judged(accrual));
    mesh.control
        .endpoints(LOCAL, &[plain(good.addr), plain(bad.addr)]);
    mesh.spread(TO, 200).await;
    assert_eq!(bad.seen().len(), 5);
}

#[tokio::test]
async fn nobody_is_taken_out_if_too_few_would_be_left() {
    let accrual = FailureAccrual {
        kind: Some(Kind::ConsecutiveFailures(ConsecutiveFailures {
            max_failures: 1,
            backoff: backoff(60),
        })),
        ejection: Some(api::EjectionConfig {
            min_ready_endpoints: 2,
        }),
    };
    let mesh = Mesh::start().await;
    let (good, bad) = (app("good").await, app("bad").await);
    failing(&bad, 500);
    mesh.control.policy(TO, judged(accrual));
    mesh.control
        .endpoints(LOCAL, &[plain(good.addr), plain(bad.addr)]);
    let spread = mesh.spread(TO, 100).await;
    // Taken out, it would have failed once.
    assert!(spread["failed"] > 1, "{spread:?}");
}

#[tokio::test]
async fn more_than_may_wait_are_turned_away() {
    let mesh = Mesh::with(&[("OUTBOUND_HTTP_QUEUE_CAPACITY", "1")]).await;
    let mut policy = first_available(&[LOCAL]);
    // The policy allows less than the sidecar; the sidecar's own limit holds.
    for routes in routes(&mut policy) {
        let backends = routes[0].rules[0].backends.as_mut().unwrap();
        let Some(api::http_route::distribution::Kind::FirstAvailable(first)) = &mut backends.kind
        else {
            panic!("{backends:?}")
        };
        let queue = first.backends[0].backend.as_mut().unwrap().queue.as_mut();
        *queue.unwrap() = api::Queue {
            capacity: 1,
            failfast_timeout: millis(500),
        };
    }
    mesh.control.policy(TO, policy);
    // Nothing is said of endpoints, so everybody waits.
    let (one, other) = tokio::join!(mesh.get(TO), mesh.get(TO));
    let mut errors = [one.unwrap_err(), other.unwrap_err()].map(|e| match e {
        Error::FailFast(_) => "failfast",
        Error::LoadShed(_) => "shed",
        other => panic!("{other}"),
    });
    errors.sort_unstable();
    assert_eq!(errors, ["failfast", "shed"]);
}

#[tokio::test]
async fn the_only_endpoints_wish_to_close_reaches_the_application() {
    use super::sandbox::{WEB, meshed};
    let mesh = Mesh::start().await;
    let peer = mesh.peer("web").await;
    peer.respond(|_| {
        let response = Response::builder().status(500);
        let response = response.header("l5d-proxy-connection", "close");
        response.body(Full::default()).unwrap()
    });
    let forward = |policy: &mut OutboundPolicy| {
        for routes in routes(policy) {
            let backends = routes[0].rules[0].backends.as_mut().unwrap();
            let Some(api::http_route::distribution::Kind::FirstAvailable(first)) =
                &mut backends.kind
            else {
                panic!("{backends:?}")
            };
            first.backends[0].backend.as_mut().unwrap().kind =
                Some(api::backend::Kind::Forward(meshed(peer.addr, WEB)));
        }
    };
    let mut policy = first_available(&[LOCAL]);
    forward(&mut policy);
    mesh.control.policy(TO, policy);
    let answer = mesh.send(TO, request("GET", "")).await.unwrap();
    assert_eq!(answer.status, 500);
    assert!(answer.extensions.get::<Close>().is_some());
    assert!(!answer.headers.contains_key("l5d-proxy-connection"));
}

fn in_zone(peer: &Peer, locality: &str) -> WeightedAddr {
    let mut endpoint = plain(peer.addr);
    let label = ("zone_locality".to_owned(), locality.to_owned());
    endpoint.metric_labels.extend([label]);
    endpoint
}

#[tokio::test]
async fn endpoints_of_our_own_zone_are_preferred_while_they_can_serve() {
    let mesh = Mesh::start().await;
    let (near, far) = (app("near").await, app("far").await);
    let others = [app("far").await, app("far").await];
    mesh.control.policy(TO, policy(|_| {}));
    let mut endpoints = vec![in_zone(&far, "remote"), in_zone(&near, "local")];
    endpoints.extend(others.iter().map(|peer| in_zone(peer, "remote")));
    mesh.control.endpoints(LOCAL, &endpoints);
    let spread = mesh.spread(TO, 100).await;
    assert!(spread["near"] > 60, "{spread:?}");
    // Far busier than the others, it gets help.
    near.set_delay(Duration::from_millis(300));
    mesh.spread(TO, 5).await;
    let spread = mesh.spread(TO, 30).await;
    let far = spread.get("far").copied().unwrap_or_default();
    assert!(far > 15, "{spread:?}");
}

#[tokio::test]
async fn a_floor_of_ready_endpoints_does_not_cost_the_zone_its_preference() {
    let mesh = Mesh::start().await;
    let (near, far, other) = (app("near").await, app("far").await, app("far").await);
    mesh.control.policy(
        TO,
        judged(FailureAccrual {
            kind: Some(Kind::ConsecutiveFailures(ConsecutiveFailures {
                max_failures: 3,
                backoff: backoff(60),
            })),
            ejection: Some(api::EjectionConfig {
                min_ready_endpoints: 2,
            }),
        }),
    );
    let endpoints = [
        in_zone(&far, "remote"),
        in_zone(&near, "local"),
        in_zone(&other, "remote"),
    ];
    mesh.control.endpoints(LOCAL, &endpoints);
    // Until all are connected to, the floor is not reached.
    mesh.spread(TO, 20).await;
    let spread = mesh.spread(TO, 100).await;
    assert!(spread["near"] > 60, "{spread:?}");
}
