//! What is asked for again because a ServiceProfile says so, and what is not.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use ::http::{Request, Response, StatusCode, Version};
use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use linkerd2_proxy_api::destination::{
    DestinationProfile, HttpStatusRange, ResponseClass, ResponseMatch, RetryBudget, Route,
    response_match,
};

use super::{
    profiles::{matching, mesh, profile, route},
    sandbox::{Mesh, Peer, request, seconds},
};
use crate::http::{Body, rescue};

const TO: &str = "10.0.0.1:80";
const VERSIONS: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

/// A profile of one route that is retried.
pub(super) fn retrying() -> DestinationProfile {
    DestinationProfile {
        routes: vec![Route {
            is_retryable: true,
            ..route()
        }],
        retry_budget: Some(RetryBudget {
            retry_ratio: 0.0,
            min_retries_per_second: 10,
            ttl: Some(seconds(10)),
        }),
        ..profile(&[])
    }
}

fn in_version(version: Version, mut request: Request<Body>) -> Request<Body> {
    if version == Version::HTTP_2 {
        *request.version_mut() = version;
        *request.uri_mut() = "http://web.default/path".parse().unwrap();
        request.headers_mut().remove("host");
    }
    request
}

/// A POST of `chunks` whose length is not known.
fn stream(chunks: usize, chunk: &'static [u8]) -> Request<Body> {
    let frame = move |_| Ok::<_, Infallible>(Frame::data(Bytes::from_static(chunk)));
    let frames = futures::stream::iter((0..chunks).map(frame));
    request("POST", "").map(|_| Body::new(StreamBody::new(frames)))
}

/// Fails the first of two requests, and answers each with the body it had.
fn failing_once(peer: &Peer) -> Arc<AtomicUsize> {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    peer.respond_late(move |request| {
        let n = count.fetch_add(1, Ordering::SeqCst);
        async move {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let mut response = Response::new(Full::new(body));
            if n.is_multiple_of(2) {
                *response.status_mut() = StatusCode::from_u16(533).unwrap();
            }
            response
        }
    });
    asked
}

#[tokio::test]
async fn a_small_body_is_sent_again_with_and_without_a_length() {
    let (mesh, peers) = mesh().await;
    mesh.control.profile(TO, retrying());
    let asked = failing_once(&peers[0]);
    for version in VERSIONS {
        for (what, request, expected) in [
            ("GET", request("GET", ""), ""),
            ("POST", request("POST", "small"), "small"),
            ("PUT", request("PUT", "small"), "small"),
            ("a stream", stream(3, b"part"), "partpartpart"),
        ] {
            asked.store(0, Ordering::SeqCst);
            let answer = mesh.send(TO, in_version(version, request)).await.unwrap();
            let found = (answer.status, answer.body.as_str());
            assert_eq!(found, (200, expected), "{version:?}: {what}");
            assert_eq!(asked.load(Ordering::SeqCst), 2, "{version:?}: {what}");
        }
    }
}

/// A change of the profile, and the request that is not repeated because of it.
type Case = (
    &'static str,
    fn(&mut DestinationProfile),
    fn() -> Request<Body>,
);

fn class(min: u32, is_failure: bool) -> ResponseClass {
    let status = HttpStatusRange { min, max: 599 };
    ResponseClass {
        condition: Some(ResponseMatch {
            r#match: Some(response_match::Match::Status(status)),
        }),
        is_failure,
    }
}

#[tokio::test]
async fn what_a_profile_does_not_want_repeated_is_asked_for_once() {
    const TOO_LONG: usize = 64 * 1024 + 1;
    static PART: [u8; 32 * 1024] = [b'x'; 32 * 1024];
    let cases: [Case; 5] = [
        (
            "another path",
            |profile| profile.routes[0].condition = matching("/other"),
            || request("GET", ""),
        ),
        (
            "an earlier class says that it is a success",
            |profile| {
                profile.routes[0].response_classes = vec![class(533, false), class(500, true)]
            },
            || request("GET", ""),
        ),
        (
            "no budget",
            |profile| profile.retry_budget = None,
            || request("GET", ""),
        ),
        (
            "a long body",
            |_| {},
            || request("POST", &"x".repeat(TOO_LONG)),
        ),
        ("a long stream", |_| {}, || stream(3, &PART)),
    ];
    for (what, change, ask) in cases {
        for version in VERSIONS {
            let (mesh, peers) = mesh().await;
            let asked = failing_once(&peers[0]);
            let mut profile = retrying();
            change(&mut profile);
            mesh.control.profile(TO, profile);
            let answer = mesh.send(TO, in_version(version, ask())).await.unwrap();
            assert_eq!(answer.status, 533, "{version:?}: {what}");
            assert_eq!(asked.load(Ordering::SeqCst), 1, "{version:?}: {what}");
        }
    }
}

/// Answers that nobody reads any more must not use up the window of their connection.
#[tokio::test]
async fn failures_that_are_repeated_leave_the_window_to_others() {
    const WINDOW: &str = "65535";
    const LARGE: usize = 60_000;
    let (mesh, peers) = {
        let vars = [
            ("DESTINATION_PROFILE_NETWORKS", "10.0.0.0/8"),
            ("HTTP2_INITIAL_STREAM_WINDOW_SIZE", WINDOW),
            ("HTTP2_INITIAL_CONNECTION_WINDOW_SIZE", WINDOW),
        ];
        super::profiles::mesh_of(Mesh::with(&vars).await).await
    };
    mesh.control.profile(TO, retrying());
    let asked = AtomicUsize::new(0);
    peers[0].respond(move |_| {
        let mut response = Response::new(Full::from(vec![b'x'; LARGE]));
        if asked.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        response
    });
    for n in 0..20 {
        let asking = mesh.send(TO, in_version(Version::HTTP_2, request("GET", "")));
        let answered = tokio::time::timeout(std::time::Duration::from_secs(20), asking).await;
        let answer = answered.unwrap_or_else(|_| panic!("request {n} hangs"));
        let answer = answer.unwrap();
        assert_eq!((answer.status, answer.body.len()), (200, LARGE), "{n}");
    }
    assert_eq!(peers[0].seen().len(), 40);
    assert_eq!(peers[0].headers().len(), 1, "one connection carried all");
}

#[tokio::test]
async fn a_route_that_takes_too_long_is_counted_as_a_timeout() {
    let (mesh, peers) = mesh().await;
    peers[0].hold(true);
    let mut profile = retrying();
    profile.routes[0].timeout = Some(prost_types::Duration {
        seconds: 0,
        nanos: 50_000_000,
    });
    mesh.control.profile(TO, profile);
    for version in VERSIONS {
        let asked = mesh.send(TO, in_version(version, request("GET", "")));
        let error = asked.await.unwrap_err();
        assert_eq!(rescue::status(&error), 504, "{version:?}: {error}");
    }
    let text = mesh.metrics();
    let name = "route_response_total{";
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    let counted = "classification=\"failure\",error=\"timeout\"} 2";
    assert!(line.ends_with(counted), "{line}");
}
