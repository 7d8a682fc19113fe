//! Calls of gRPC that fail in headers, in trailers or by silence, and who asks for them again.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::AtomicUsize, atomic::Ordering},
};

use ::http::{HeaderMap, HeaderValue, Request, Response, Version};
use bytes::Bytes;
use http_body_util::BodyExt;
use linkerd2_proxy_api::{
    meta::Metadata,
    outbound::{
        self as api, OutboundPolicy,
        grpc_route::{self as grpc, Retry, retry::Conditions},
    },
};
use tokio::net::TcpListener;

use super::{
    profile_retries::retrying,
    resilience::routes,
    sandbox::{Mesh, first_available, metadata, plain},
};
use crate::{
    http::Body,
    outbound::http::{Origin, answer},
};

const TO: &str = "10.0.0.1:80";
const PATH: &str = "web.default.svc.cluster.local:80";

/// How a call is answered.
#[derive(Clone, Copy)]
enum Say {
    /// A status and nothing else.
    Headers(&'static str),
    /// So many frames, then a status.
    Trailers(usize, &'static str),
    /// Not at all.
    Nothing,
}

struct Server {
    addr: SocketAddr,
    asked: Arc<AtomicUsize>,
}

/// A server that says one thing after the other, and in the end the last for ever.
async fn server(says: &'static [Say]) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server {
        addr: listener.local_addr().unwrap(),
        asked: Arc::default(),
    };
    let asked = server.asked.clone();
    tokio::spawn(async move {
        while let Ok((io, _)) = listener.accept().await {
            tokio::spawn(connection(io, says, asked.clone()));
        }
    });
    server
}

async fn connection(io: tokio::net::TcpStream, says: &'static [Say], asked: Arc<AtomicUsize>) {
    let mut connection = h2::server::handshake(io).await.unwrap();
    let mut unanswered = Vec::new();
    while let Some(Ok((_, mut respond))) = connection.accept().await {
        let n = asked.fetch_add(1, Ordering::SeqCst);
        let mut response = Response::new(());
        let headers = response.headers_mut();
        headers.insert("content-type", HeaderValue::from_static("application/grpc"));
        match says[n.min(says.len() - 1)] {
            Say::Headers(status) => {
                headers.insert("grpc-status", HeaderValue::from_static(status));
                respond.send_response(response, true).unwrap();
            }
            Say::Trailers(frames, status) => {
                let mut body = respond.send_response(response, false).unwrap();
                for _ in 0..frames {
                    body.send_data(Bytes::from("frame"), false).unwrap();
                }
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", HeaderValue::from_static(status));
                body.send_trailers(trailers).unwrap();
            }
            Say::Nothing => unanswered.push(respond),
        }
    }
}

fn call(headers: &[(&'static str, &'static str)]) -> Request<Body> {
    let mut request = Request::post("http://web.default/path")
        .version(Version::HTTP_2)
        .header("content-type", "application/grpc");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::full("question")).unwrap()
}

/// The status a call ended with, and what was answered before.
async fn outcome(mesh: &Mesh, call: Request<Body>) -> (String, Bytes) {
    let shared = &mesh.outbound.0;
    let target = shared.discovery.addr(TO.parse().unwrap()).await.unwrap();
    let response = answer(shared, Origin::Workload, &target, call).await;
    let (parts, body) = response.unwrap().into_parts();
    let body = body.collect().await.unwrap();
    let status = body.trailers().unwrap_or(&parts.headers)["grpc-status"].clone();
    (status.to_str().unwrap().to_owned(), body.to_bytes())
}

#[tokio::test]
async fn a_profile_has_a_call_repeated_for_its_status_wherever_that_is() {
    use Say::*;
    for (says, status, body, attempts) in [
        (&[Headers("14"), Trailers(1, "0")][..], "0", "frame", 2),
        (&[Trailers(0, "14"), Trailers(1, "0")], "0", "frame", 2),
        (&[Trailers(1, "14"), Headers("0")], "0", "", 2),
        (&[Trailers(1, "0"), Headers("14")], "0", "frame", 1),
        (&[Trailers(1, "5"), Headers("0")], "5", "frame", 1),
        // Nothing of a long answer is lost on the way.
        (&[Trailers(3, "0")], "0", "frameframeframe", 1),
    ] {
        let mesh = Mesh::with(&[("DESTINATION_PROFILE_NETWORKS", "10.0.0.0/8")]).await;
        let server = server(says).await;
        mesh.control.policy(TO, first_available(&[PATH]));
        mesh.control.profile(TO, retrying());
        mesh.control.endpoints(PATH, &[plain(server.addr)]);
        let found = outcome(&mesh, call(&[])).await;
        assert_eq!(found, (status.to_owned(), Bytes::from(body)));
        assert_eq!(server.asked.load(Ordering::SeqCst), attempts);
    }
}

/// A policy of one route for all calls.
fn policy(retry: Option<Retry>, overridable: bool) -> OutboundPolicy {
    of_grpc(first_available(&[PATH]), Some(metadata()), |rule| {
        rule.retry = retry;
        rule.allow_l5d_request_headers = overridable;
    })
}

/// The first route of `http`, as one of gRPC that is called `metadata`.
pub(super) fn of_grpc(
    mut http: OutboundPolicy,
    metadata: Option<Metadata>,
    change: impl FnOnce(&mut grpc::Rule),
) -> OutboundPolicy {
    let rule = routes(&mut http)[0].remove(0).rules.remove(0);
    let Some(api::http_route::distribution::Kind::FirstAvailable(mut first)) =
        rule.backends.unwrap().kind
    else {
        panic!("not the first")
    };
    let first = grpc::distribution::FirstAvailable {
        backends: vec![grpc::RouteBackend {
            backend: first.backends.remove(0).backend,
            ..Default::default()
        }],
    };
    let mut rule = grpc::Rule {
        backends: Some(grpc::Distribution {
            kind: Some(grpc::distribution::Kind::FirstAvailable(first)),
        }),
        ..Default::default()
    };
    change(&mut rule);
    let route = api::GrpcRoute {
        metadata,
        rules: vec![rule],
        ..Default::default()
    };
    let kind = api::proxy_protocol::Kind::Grpc(api::proxy_protocol::Grpc {
        routes: vec![route],
        failure_accrual: None,
    });
    OutboundPolicy {
        protocol: Some(api::ProxyProtocol { kind: Some(kind) }),
        ..http
    }
}

/// The status of a call, and how often the server was asked.
async fn ask(
    policy: OutboundPolicy,
    says: &'static [Say],
    headers: &[(&'static str, &'static str)],
) -> (String, usize) {
    let mesh = Mesh::start().await;
    let server = server(says).await;
    mesh.control.policy(TO, policy);
    mesh.control.endpoints(PATH, &[plain(server.addr)]);
    let (status, _) = outcome(&mesh, call(headers)).await;
    (status, server.asked.load(Ordering::SeqCst))
}

#[tokio::test]
async fn a_route_has_calls_repeated_for_the_statuses_it_names() {
    let retry = || {
        Some(Retry {
            max_retries: 2,
            max_request_bytes: 1024,
            conditions: Some(Conditions {
                internal: true,
                ..Default::default()
            }),
            timeout: None,
            backoff: None,
        })
    };
    const FAILS: &[Say] = &[
        Say::Headers("13"),
        Say::Trailers(0, "13"),
        Say::Trailers(1, "0"),
    ];
    assert_eq!(
        ask(policy(retry(), false), FAILS, &[]).await,
        ("0".into(), 3)
    );
    const OTHER: &[Say] = &[Say::Headers("14"), Say::Trailers(1, "0")];
    assert_eq!(
        ask(policy(retry(), false), OTHER, &[]).await,
        ("14".into(), 1)
    );
}

#[tokio::test]
async fn a_call_that_is_not_answered_in_time_is_made_again() {
    let retry = Retry {
        max_retries: 1,
        max_request_bytes: 1024,
        conditions: Some(Conditions::default()),
        timeout: Some(prost_types::Duration {
            seconds: 0,
            nanos: 50_000_000,
        }),
        backoff: None,
    };
    const SLOW: &[Say] = &[Say::Nothing, Say::Trailers(1, "0")];
    let found = ask(policy(Some(retry), false), SLOW, &[]).await;
    assert_eq!(found, ("0".into(), 2));
}

#[tokio::test]
async fn a_call_may_ask_to_be_repeated_where_its_route_allows_it() {
    const FAILS: &[Say] = &[Say::Headers("13"), Say::Trailers(1, "0")];
    let headers = [("l5d-retry-grpc", "internal"), ("l5d-retry-limit", "1")];
    for (allowed, expected) in [(true, ("0", 2)), (false, ("13", 1))] {
        let (status, asked) = ask(policy(None, allowed), FAILS, &headers).await;
        assert_eq!((status.as_str(), asked), expected, "{allowed}");
    }
}
