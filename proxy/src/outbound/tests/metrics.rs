//! What requests and connections are counted as, by name, labels and value, as dashboards ask for it.

use std::time::Duration;

use ::http::{HeaderMap, Request, Response, StatusCode, Version};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use linkerd2_proxy_api::{
    meta,
    outbound::{self as api, OutboundPolicy, http_route as http, proxy_protocol::Kind},
};

use super::{
    grpc::of_grpc,
    sandbox::{Mesh, Peer, WEB, first_available, meshed, nobody, plain, request},
};
use crate::http::Body;

const TO: &str = "10.0.0.1:80";
const LOCAL: &str = "web.default.svc.cluster.local:80";

/// Every label of the parent and the route of [`named`].
const ROUTE: &str = r#"parent_group="core",parent_kind="Service",parent_namespace="shop",parent_name="web",parent_port="80",parent_section_name="",route_group="gateway.networking.k8s.io",route_kind="HTTPRoute",route_namespace="shop",route_name="web-route""#;
/// The same of its backend.
const BACKEND: &str = r#"backend_group="core",backend_kind="Service",backend_namespace="shop",backend_name="web-backend",backend_port="8080",backend_section_name="""#;

fn resource(group: &str, kind: &str, name: &str, port: u32) -> Option<meta::Metadata> {
    Some(meta::Metadata {
        kind: Some(meta::metadata::Kind::Resource(meta::Resource {
            group: group.to_owned(),
            kind: kind.to_owned(),
            name: name.to_owned(),
            namespace: "shop".to_owned(),
            section: String::new(),
            port,
        })),
    })
}

fn parent() -> Option<meta::Metadata> {
    resource("core", "Service", "web", 80)
}

fn backend() -> Option<meta::Metadata> {
    resource("core", "Service", "web-backend", 8080)
}

/// One route over [`LOCAL`], all of it named as a control plane names it.
pub(super) fn named(change: impl Fn(&mut http::Rule)) -> OutboundPolicy {
    let mut policy = first_available(&[LOCAL]);
    policy.metadata = parent();
    for_each_backend(&mut policy, |named| named.metadata = backend());
    for route in http_routes(&mut policy) {
        route.metadata = resource("gateway.networking.k8s.io", "HTTPRoute", "web-route", 0);
        change(&mut route.rules[0]);
    }
    policy
}

/// The same as calls of gRPC.
fn named_grpc() -> OutboundPolicy {
    let route = resource("gateway.networking.k8s.io", "GRPCRoute", "web-route", 0);
    of_grpc(named(|_| {}), route, |_| {})
}

impl Mesh {
    /// The value of the one series with exactly these labels.
    fn value(&self, series: &str) -> Option<String> {
        let text = self.metrics();
        let mut values = text
            .lines()
            .filter_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        let value = values.next().map(str::to_owned);
        assert!(values.next().is_none(), "{series} is there twice");
        value
    }

    #[track_caller]
    fn assert_counted(&self, series: &str, expected: &str) {
        let found = self.value(series);
        let text = self.metrics();
        let name = series.split('{').next().unwrap();
        let like: Vec<_> = text.lines().filter(|line| line.starts_with(name)).collect();
        assert_eq!(found.as_deref(), Some(expected), "{series} among {like:#?}");
    }
}

#[tokio::test]
async fn a_request_is_counted_by_its_route_and_its_backend() {
    let mesh = Mesh::start().await;
    let app = Peer::start(None, "a response of 22 bytes").await;
    mesh.control.policy(TO, named(|_| {}));
    mesh.control.endpoints(LOCAL, &[plain(app.addr)]);
    mesh.get(TO).await.unwrap();
    mesh.send(TO, request("POST", &"x".repeat(200)))
        .await
        .unwrap();
    let route = format!("{ROUTE},hostname=\"\"");
    let backend = format!("{ROUTE},{BACKEND}");
    for (series, expected) in [
        (
            format!(
                "outbound_http_route_request_statuses_total{{{route},http_status=\"200\",error=\"\"}}"
            ),
            "2",
        ),
        (
            format!("outbound_http_route_request_duration_seconds_count{{{route}}}"),
            "2",
        ),
        (
            format!("outbound_http_route_request_duration_seconds_bucket{{{route},le=\"10.0\"}}"),
            "2",
        ),
        (
            format!("outbound_http_route_request_frame_size_bytes_bucket{{{route},le=\"128.0\"}}"),
            "0",
        ),
        (
            format!("outbound_http_route_request_frame_size_bytes_bucket{{{route},le=\"1024.0\"}}"),
            "1",
        ),
        (
            format!("outbound_http_route_request_frame_size_bytes_sum{{{route}}}"),
            "200.0",
        ),
        (
            format!("outbound_http_route_backend_requests_total{{{backend}}}"),
            "2",
        ),
        (
            format!(
                "outbound_http_route_backend_response_statuses_total{{{backend},http_status=\"200\",error=\"\"}}"
            ),
            "2",
        ),
        (
            format!("outbound_http_route_backend_response_duration_seconds_count{{{backend}}}"),
            "2",
        ),
        (
            format!("outbound_http_route_backend_response_frame_size_bytes_sum{{{backend}}}"),
            "44.0",
        ),
    ] {
        mesh.assert_counted(&series, expected);
    }
    let text = mesh.metrics();
    let bounds = |name: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| line.starts_with(name));
        lines
            .filter_map(|line| Some(line.split("le=\"").nth(1)?.split('"').next()?.to_owned()))
            .collect()
    };
    assert_eq!(
        bounds("outbound_http_route_request_duration_seconds_bucket"),
        ["0.05", "0.5", "1.0", "10.0", "+Inf"]
    );
    assert_eq!(
        bounds("outbound_http_route_backend_response_duration_seconds_bucket"),
        ["0.025", "0.05", "0.1", "0.25", "0.5", "1.0", "10.0", "+Inf"]
    );
}

#[tokio::test]
async fn what_a_route_answers_itself_or_cannot_answer_is_counted_with_its_word() {
    let failfast = [("OUTBOUND_HTTP_FAILFAST_TIMEOUT", "200ms")];
    let mesh = Mesh::with(&failfast).await;
    mesh.control.policy(TO, named(|_| {}));
    mesh.control.endpoints(LOCAL, &[]);
    mesh.get(TO).await.unwrap_err();
    let route = format!("{ROUTE},hostname=\"\"");
    let statuses = "outbound_http_route_request_statuses_total";
    mesh.assert_counted(
        &format!("{statuses}{{{route},http_status=\"\",error=\"FAIL_FAST\"}}"),
        "1",
    );
    // Nobody got it.
    assert!(!mesh.metrics().contains("outbound_http_route_backend_"));

    let elsewhere = "10.0.0.2:80";
    let injecting = named(|rule| {
        rule.filters = vec![http::Filter {
            kind: Some(http::filter::Kind::FailureInjector(
                linkerd2_proxy_api::http_route::HttpFailureInjector {
                    status: 418,
                    message: "tea".to_owned(),
                    ratio: None,
                },
            )),
        }];
    });
    mesh.control.policy(elsewhere, injecting);
    mesh.get(elsewhere).await.unwrap_err();
    mesh.assert_counted(
        &format!("{statuses}{{{route},http_status=\"418\",error=\"\"}}"),
        "1",
    );
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_counted_as_that() {
    let mesh = Mesh::start().await;
    let app = Peer::start(None, "slow").await;
    app.hold(true);
    mesh.control.policy(
        TO,
        named(|rule| {
            rule.timeouts = Some(linkerd2_proxy_api::http_route::Timeouts {
                request: Some(prost_types::Duration {
                    seconds: 0,
                    nanos: 50_000_000,
                }),
                ..Default::default()
            });
        }),
    );
    mesh.control.endpoints(LOCAL, &[plain(app.addr)]);
    mesh.get(TO).await.unwrap_err();
    mesh.assert_counted(
        &format!(
            "outbound_http_route_request_statuses_total{{{ROUTE},hostname=\"\",http_status=\"\",error=\"REQUEST_TIMEOUT\"}}"
        ),
        "1",
    );
    // The backend was not waited for any longer.
    mesh.assert_counted(
        &format!(
            "outbound_http_route_backend_response_statuses_total{{{ROUTE},{BACKEND},http_status=\"\",error=\"CANCEL\"}}"
        ),
        "1",
    );
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_reached_answers_as_its_client_sees_it() {
    let failfast = [("OUTBOUND_HTTP_FAILFAST_TIMEOUT", "200ms")];
    let mesh = Mesh::with(&failfast).await;
    mesh.control.policy(TO, named(|_| {}));
    mesh.control.endpoints(LOCAL, &[plain(nobody().await)]);
    mesh.get(TO).await.unwrap_err();
    let bad_gateway = format!(
        "outbound_http_route_request_statuses_total{{{ROUTE},hostname=\"\",http_status=\"502\",error=\"\"}}"
    );
    mesh.assert_counted(&bad_gateway, "1");
}

fn retry(max_retries: u32) -> Option<http::Retry> {
    use http::retry::{Conditions, conditions::StatusRange};
    Some(http::Retry {
        max_retries,
        max_request_bytes: 1024,
        conditions: Some(Conditions {
            status_ranges: vec![StatusRange {
                start: 500,
                end: 599,
            }],
        }),
        ..Default::default()
    })
}

#[tokio::test]
async fn retries_are_counted_by_what_became_of_them() {
    let mesh = Mesh::start().await;
    let app = Peer::start(None, "app").await;
    let failures = std::sync::atomic::AtomicUsize::new(3);
    app.respond(move |_| {
        use std::sync::atomic::Ordering;
        let fails = failures.load(Ordering::SeqCst) > 0;
        let mut response = Response::new(Full::from("x"));
        if fails {
            failures.fetch_sub(1, Ordering::SeqCst);
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        response
    });
    mesh.control.policy(TO, named(|rule| rule.retry = retry(1)));
    mesh.control.endpoints(LOCAL, &[plain(app.addr)]);
    // Both fail; then the second succeeds.
    assert_eq!(mesh.get(TO).await.unwrap().status, 503);
    assert_eq!(mesh.get(TO).await.unwrap().status, 200);
    let route = format!("{ROUTE},hostname=\"\"");
    for (what, expected) in [
        ("requests", "2"),
        ("successes", "1"),
        ("limit_exceeded", "1"),
        ("overflow", "0"),
    ] {
        let series = format!("outbound_http_route_retry_{what}_total{{{route}}}");
        mesh.assert_counted(&series, expected);
    }
    let statuses = "outbound_http_route_request_statuses_total";
    for status in ["503", "200"] {
        let series = format!("{statuses}{{{route},http_status=\"{status}\",error=\"\"}}");
        mesh.assert_counted(&series, "1");
    }
    // Of those that are asked for again nobody reads the body.
    let backend = format!(
        "outbound_http_route_backend_response_statuses_total{{{ROUTE},{BACKEND},http_status=\"503\""
    );
    mesh.assert_counted(&format!("{backend},error=\"CANCEL\"}}"), "2");
    mesh.assert_counted(&format!("{backend},error=\"\"}}"), "1");
}

fn call(path: &str) -> Request<Body> {
    Request::post(format!("http://web.default{path}"))
        .version(Version::HTTP_2)
        .header("content-type", "application/grpc")
        .body(Body::empty())
        .unwrap()
}

/// A server of gRPC that says `status` at the end of each response, or nothing.
async fn grpc_server(mesh: &Mesh, status: Option<&'static str>) -> std::net::SocketAddr {
    use crate::transport_header;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let store = mesh.issue(WEB);
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let accept = mesh_tls::Accept {
                transport_header: true,
                timeout: Duration::from_secs(5),
            };
            let mut accepted = mesh_tls::accept(&store, accept, tcp).await.unwrap();
            transport_header::read(&mut accepted.stream).await.unwrap();
            let service = hyper::service::service_fn(move |_| async move {
                let trailers = status.map(|status| {
                    let mut trailers = HeaderMap::new();
                    trailers.insert("grpc-status", status.parse().unwrap());
                    Ok(trailers)
                });
                let body = Full::new(Bytes::from("x"));
                let body = body.with_trailers(async move { trailers });
                let response = Response::builder().header("content-type", "application/grpc");
                Ok::<_, std::convert::Infallible>(response.body(body).unwrap())
            });
            let server =
                hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new());
            let io = hyper_util::rt::TokioIo::new(accepted.stream);
            tokio::spawn(server.serve_connection(io, service));
        }
    });
    addr
}

#[tokio::test]
async fn calls_of_grpc_are_counted_by_their_status() {
    for (status, word, target) in [
        (Some("5"), "NOT_FOUND", "grpc_status=\"5\""),
        (Some("0"), "OK", "grpc_status=\"0\""),
        // A server that says nothing at the end.
        (None, "UNKNOWN", "grpc_status=\"2\""),
    ] {
        let mesh = Mesh::start().await;
        let server = grpc_server(&mesh, status).await;
        mesh.control.policy(TO, named_grpc());
        mesh.control.endpoints(LOCAL, &[meshed(server, WEB)]);
        mesh.send(TO, call("/svc/Method")).await.unwrap();
        let route = ROUTE.replace("HTTPRoute", "GRPCRoute");
        mesh.assert_counted(
            &format!(
                "outbound_grpc_route_request_statuses_total{{{route},hostname=\"\",grpc_status=\"{word}\",error=\"\"}}"
            ),
            "1",
        );
        mesh.assert_counted(
            &format!(
                "outbound_grpc_route_backend_response_statuses_total{{{route},{BACKEND},grpc_status=\"{word}\",error=\"\"}}"
            ),
            "1",
        );
        let text = mesh.metrics();
        assert!(!text.contains("outbound_http_route"), "{text}");
        let response = text
            .lines()
            .find(|line| line.starts_with("response_total{"));
        let response = response.unwrap();
        assert!(response.contains(target), "{response}");
        assert!(
            response.contains("classification=\"success\""),
            "{response}"
        );
    }
}

#[tokio::test]
async fn hosts_that_clients_make_up_do_not_grow_the_metrics() {
    let mesh = Mesh::start().await;
    let app = Peer::start(None, "app").await;
    mesh.control.policy(TO, named(|_| {}));
    mesh.control.endpoints(LOCAL, &[plain(app.addr)]);
    mesh.get(TO).await.unwrap();
    let before = mesh.metrics().lines().count();
    for i in 0..200 {
        let mut request = request("GET", "");
        let host = format!("host-{i}.example").parse().unwrap();
        request.headers_mut().insert("host", host);
        mesh.send(TO, request).await.unwrap();
    }
    assert_eq!(mesh.metrics().lines().count(), before);
}

#[tokio::test]
async fn a_balancer_says_who_waits_for_whom() {
    let failfast = [("OUTBOUND_HTTP_FAILFAST_TIMEOUT", "200ms")];
    let mesh = Mesh::with(&failfast).await;
    let app = Peer::start(None, "app").await;
    let mut policy = named(|_| {});
    // As the policy says nothing of a queue, the configuration counts.
    for_each_backend(&mut policy, |backend| backend.queue = None);
    mesh.control.policy(TO, policy);
    mesh.control.endpoints(LOCAL, &[]);
    mesh.get(TO).await.unwrap_err();
    let labels = ROUTE.split(",route_group").next().unwrap();
    let labels = format!("{labels},{BACKEND}");
    let prefix = "outbound_http_balancer";
    mesh.assert_counted(&format!("{prefix}_queue_gate_shut_total{{{labels}}}"), "1");
    mesh.assert_counted(
        &format!("{prefix}_queue_gate_open_time_seconds{{{labels}}}"),
        "0",
    );

    mesh.control.endpoints(LOCAL, &[plain(app.addr)]);
    while mesh.get(TO).await.is_err() {}
    for (series, expected) in [
        (
            format!("endpoints{{{labels},endpoint_state=\"ready\"}}"),
            "1",
        ),
        (
            format!("endpoints{{{labels},endpoint_state=\"pending\"}}"),
            "0",
        ),
        (format!("p2c_endpoints{{{labels}}}"), "1"),
        (format!("p2c_updates_total{{{labels},op=\"Add\"}}"), "1"),
        (format!("p2c_updates_total{{{labels},op=\"Remove\"}}"), "0"),
        (format!("p2c_updates_total{{{labels},op=\"Reset\"}}"), "1"),
        (format!("queue_length{{{labels}}}"), "0"),
        (format!("queue_requests_total{{{labels}}}"), "1"),
        (format!("queue_latency_seconds_count{{{labels}}}"), "1"),
        (format!("queue_gate_open_total{{{labels}}}"), "2"),
        (format!("queue_gate_shut_total{{{labels}}}"), "1"),
        (format!("queue_gate_shut_time_seconds{{{labels}}}"), "0"),
        (format!("queue_gate_timeout_seconds{{{labels}}}"), "0.2"),
    ] {
        mesh.assert_counted(&format!("{prefix}_{series}"), expected);
    }
    // Its endpoints serve connections that are not HTTP, too.
    let concrete = format!(",logical=\"{TO}\",concrete=\"{LOCAL}\"}} 1");
    let text = mesh.metrics();
    let name = "outbound_tcp_balancer_p2c_endpoints{";
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    assert!(line.ends_with(&concrete), "{line}");
}

#[tokio::test]
async fn a_balancer_is_shown_no_longer_than_it_lives() {
    let mesh = Mesh::start().await;
    let app = Peer::start(None, "app").await;
    mesh.control.policy(TO, named(|_| {}));
    mesh.control.endpoints(LOCAL, &[plain(app.addr)]);
    mesh.get(TO).await.unwrap();
    let shown = || mesh.metrics().contains("outbound_http_balancer_endpoints{");
    assert!(shown());
    // Another policy, of one endpoint: nothing is balanced any more.
    mesh.control.policy(TO, first_available(&[]));
    while shown() {
        let _ = mesh.get(TO).await;
    }
}

fn http_routes(policy: &mut OutboundPolicy) -> impl Iterator<Item = &mut api::HttpRoute> {
    let Some(Kind::Detect(detect)) = policy.protocol.as_mut().unwrap().kind.as_mut() else {
        panic!("not detected")
    };
    let http1 = &mut detect.http1.as_mut().unwrap().routes;
    let http2 = &mut detect.http2.as_mut().unwrap().routes;
    http1.iter_mut().chain(http2)
}

fn for_each_backend(policy: &mut OutboundPolicy, change: impl Fn(&mut api::Backend)) {
    for route in http_routes(policy) {
        let distribution = route.rules[0].backends.as_mut().unwrap().kind.as_mut();
        let Some(http::distribution::Kind::FirstAvailable(first)) = distribution else {
            panic!("not the first")
        };
        let backends = first.backends.iter_mut();
        backends.for_each(|backend| change(backend.backend.as_mut().unwrap()));
    }
}

/// Sends bytes that are not HTTP, until the other side has closed.
async fn send_bytes(mesh: &Mesh, bytes: &[u8]) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut io = mesh.dial(TO).await;
    io.write_all(bytes).await.unwrap();
    io.shutdown().await.unwrap();
    let mut answer = String::new();
    io.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn connections_are_counted_by_protocol_and_route_and_zone() {
    let mesh = Mesh::start().await;
    let peer = mesh.peer("peer").await;
    mesh.control.policy(TO, named(|_| {}));
    let mut endpoint = meshed(peer.addr, WEB);
    let near = ("zone_locality".to_owned(), "local".to_owned());
    endpoint.metric_labels.extend([near]);
    mesh.control.endpoints(LOCAL, &[endpoint]);
    let bytes = b"this is not HTTP at all";
    assert_eq!(
        send_bytes(&mesh, bytes).await,
        "peer:this is not HTTP at all"
    );
    send_bytes(
        &mesh,
        b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    )
    .await;
    let parent = ROUTE.split(",route_group").next().unwrap();
    // The sandbox names the opaque route so.
    let route = format!(
        r#"{parent},route_group="",route_kind="default",route_namespace="",route_name="default""#
    );
    let closed = format!("outbound_tcp_route_close_total{{{route},error=\"\"}}");
    while mesh.value(&closed).is_none() {
        tokio::task::yield_now().await;
    }
    for (series, expected) in [
        (
            format!("outbound_tcp_protocol_connections_total{{protocol=\"detect\",{parent}}}"),
            "2",
        ),
        (
            format!("outbound_tcp_detect_http_results_total{{{parent},result=\"not_http\"}}"),
            "1",
        ),
        (
            format!("outbound_tcp_detect_http_results_total{{{parent},result=\"http/1\"}}"),
            "1",
        ),
        (
            format!("outbound_tcp_detect_http_results_total{{{parent},result=\"read_timeout\"}}"),
            "0",
        ),
        (
            format!("outbound_tcp_detect_http_duration_seconds_count{{{parent}}}"),
            "2",
        ),
        (format!("outbound_tcp_route_open_total{{{route}}}"), "1"),
        (closed, "1"),
    ] {
        mesh.assert_counted(&series, expected);
    }
    let cost = |op: &str, zone: &str| {
        let labels = format!("op=\"{op}\",zone_locality=\"{zone}\"");
        let series = format!("outbound_tcp_transfer_cost_bytes_total{{{labels}}}");
        mesh.value(&series).unwrap().parse::<usize>().unwrap()
    };
    // Those of HTTP may be counted or not: its connection is kept.
    assert!(cost("send", "local") >= bytes.len());
    assert!(cost("recv", "local") >= bytes.len() + "peer:".len());
    assert_eq!((cost("send", "remote"), cost("send", "unknown")), (0, 0));
}

#[tokio::test]
async fn a_connection_that_leads_nowhere_is_counted_with_the_reason() {
    let failfast = [("OUTBOUND_TCP_FAILFAST_TIMEOUT", "100ms")];
    let mesh = Mesh::with(&failfast).await;
    let mut policy = named(|_| {});
    for_opaque(&mut policy, |backend| backend.kind = None);
    mesh.control.policy(TO, policy);
    assert_eq!(send_bytes(&mesh, b"this is not HTTP at all").await, "");
    let text = mesh.metrics();
    let name = "outbound_tcp_route_close_total{";
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    assert!(line.ends_with("error=\"invalid_backend\"} 1"), "{line}");
}

fn for_opaque(policy: &mut OutboundPolicy, change: impl Fn(&mut api::Backend)) {
    use api::opaque_route::distribution::Kind as Wire;
    let Some(Kind::Detect(detect)) = policy.protocol.as_mut().unwrap().kind.as_mut() else {
        panic!("not detected")
    };
    let rule = &mut detect.opaque.as_mut().unwrap().routes[0].rules[0];
    let Some(Wire::FirstAvailable(first)) = rule.backends.as_mut().unwrap().kind.as_mut() else {
        panic!("not the first")
    };
    change(first.backends[0].backend.as_mut().unwrap());
}

#[tokio::test]
async fn questions_to_the_control_plane_are_counted() {
    let mesh = Mesh::start().await;
    let app = Peer::start(None, "app").await;
    mesh.control.policy(TO, named(|_| {}));
    mesh.control.endpoints(LOCAL, &[plain(app.addr)]);
    mesh.get(TO).await.unwrap();
    // One for the policy, one for the endpoints: both go on.
    let addr = mesh.outbound.0.config.destination.addr.clone();
    let labels = format!(
        "addr=\"{}:{}\",tls=\"no_identity\",no_tls_reason=\"loopback\"",
        addr.host, addr.port
    );
    mesh.assert_counted(&format!("control_request_total{{{labels}}}"), "2");
    assert!(!mesh.metrics().contains("control_response_total{"));
    // Nobody answers for a target nobody knows.
    mesh.control.cut();
    let refused = format!(
        "control_response_total{{{labels},status_code=\"200\",classification=\"success\",grpc_status=\"5\"}}"
    );
    let unknown = app.addr.to_string();
    mesh.get(&unknown).await.unwrap();
    while mesh.value(&refused).is_none() {
        tokio::task::yield_now().await;
    }
    mesh.assert_counted(&refused, "1");
}

#[tokio::test]
async fn requests_by_the_routes_of_a_profile_are_counted_as_those() {
    use linkerd2_proxy_api::destination::{self as dst, DestinationProfile};
    let mesh = Mesh::with(&[("DESTINATION_PROFILE_NETWORKS", "10.0.0.0/8")]).await;
    let app = Peer::start(None, "app").await;
    let route = dst::Route {
        condition: Some(dst::RequestMatch {
            r#match: Some(dst::request_match::Match::Path(dst::PathMatch {
                regex: "/path".to_owned(),
            })),
        }),
        metrics_labels: [("route".to_owned(), "GET /path".to_owned())].into(),
        ..Default::default()
    };
    let profile = DestinationProfile {
        fully_qualified_name: "web.default.svc.cluster.local".to_owned(),
        routes: vec![route],
        ..Default::default()
    };
    mesh.control.profile(TO, profile);
    mesh.control.endpoints(LOCAL, &[plain(app.addr)]);
    assert_eq!(mesh.get(TO).await.unwrap().body, "app");
    let labels = format!("direction=\"outbound\",dst=\"{LOCAL}\",rt_route=\"GET /path\"");
    let answered = "status_code=\"200\",classification=\"success\"";
    for series in [
        format!("route_request_total{{{labels}}}"),
        format!("route_response_total{{{labels},{answered}}}"),
        format!("route_response_latency_ms_count{{{labels},status_code=\"200\"}}"),
        format!("route_actual_request_total{{{labels}}}"),
        format!("route_actual_response_total{{{labels},{answered}}}"),
    ] {
        mesh.assert_counted(&series, "1");
    }
}

#[tokio::test]
async fn retries_that_a_profile_asks_for_are_counted_as_its_route_says() {
    use linkerd2_proxy_api::destination::{self as dst, DestinationProfile};
    let mesh = Mesh::with(&[("DESTINATION_PROFILE_NETWORKS", "10.0.0.0/8")]).await;
    let app = Peer::start(None, "app").await;
    app.respond(|_| {
        let mut response = Response::new(Full::from("x"));
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        response
    });
    let route = dst::Route {
        condition: Some(dst::RequestMatch {
            r#match: Some(dst::request_match::Match::Path(dst::PathMatch {
                regex: "/.*".to_owned(),
            })),
        }),
        metrics_labels: [("route".to_owned(), "GET".to_owned())].into(),
        is_retryable: true,
        ..Default::default()
    };
    let profile = DestinationProfile {
        fully_qualified_name: "web.default.svc.cluster.local".to_owned(),
        routes: vec![route],
        retry_budget: Some(dst::RetryBudget {
            retry_ratio: 0.0,
            min_retries_per_second: 1,
            ttl: Some(prost_types::Duration {
                seconds: 10,
                nanos: 0,
            }),
        }),
        ..Default::default()
    };
    mesh.control.profile(TO, profile);
    mesh.control.endpoints(LOCAL, &[plain(app.addr)]);
    let labels = format!("direction=\"outbound\",dst=\"{LOCAL}\",rt_route=\"GET\"");
    let skipped = format!("route_retryable_total{{{labels},skipped=\"no_budget\"}}");
    for _ in 0..20 {
        assert_eq!(mesh.get(TO).await.unwrap().status, 503);
    }
    let value = |series: &str| -> u64 {
        let series = format!("{series}{{{labels}}}");
        mesh.value(&series).unwrap().parse().unwrap()
    };
    // What was sent is what was asked for, and what was sent again.
    let again = value("route_actual_request_total") - value("route_request_total");
    assert!(again > 0);
    assert_eq!(value("route_retryable_total"), again);
    assert!(mesh.value(&skipped).is_some());
}

#[tokio::test]
async fn every_series_is_there_once_and_explained() {
    use std::collections::BTreeSet;
    let mesh = Mesh::start().await;
    let peer = mesh.peer("peer").await;
    mesh.control.policy(TO, named(|rule| rule.retry = retry(1)));
    mesh.control.endpoints(LOCAL, &[meshed(peer.addr, WEB)]);
    mesh.get(TO).await.unwrap();
    send_bytes(&mesh, b"this is not HTTP at all").await;
    let text = mesh.metrics();
    let explained: BTreeSet<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    let types = text.lines().filter(|line| line.starts_with("# TYPE "));
    assert_eq!(types.count(), explained.len(), "a family is there twice");
    let mut seen = BTreeSet::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
        assert!(seen.insert(series), "{series} is there twice");
        let name = series.split('{').next().unwrap();
        let parts = ["_bucket", "_count", "_sum"];
        let whole = parts.iter().find_map(|part| name.strip_suffix(part));
        let known = explained.contains(name) || whole.is_some_and(|w| explained.contains(w));
        assert!(known, "{name} has no type");
    }
}

#[tokio::test]
async fn failed_attempts_are_counted_by_what_became_of_them() {
    let mesh = Mesh::start().await;
    let app = Peer::start(None, "app").await;
    app.respond(|_| {
        let mut response = Response::new(Full::from("x"));
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        response
    });
    mesh.control.policy(TO, named(|rule| rule.retry = retry(3)));
    mesh.control.endpoints(LOCAL, &[plain(app.addr)]);
    // More than the budget of the target allows.
    let requests = 30;
    for _ in 0..requests {
        assert_eq!(mesh.get(TO).await.unwrap().status, 503);
    }
    let value = |series: String| -> u64 { mesh.value(&series).unwrap().parse().unwrap() };
    let outcome = |outcome: &str| {
        let labels = format!("authority=\"{TO}\",outcome=\"{outcome}\"");
        value(format!("outbound_http_retries_total{{{labels}}}"))
    };
    let retry = |what: &str| {
        let labels = format!("{ROUTE},hostname=\"\"");
        value(format!(
            "outbound_http_route_retry_{what}_total{{{labels}}}"
        ))
    };
    assert!(outcome("no_budget") > 0);
    assert_eq!(outcome("no_budget"), retry("overflow"));
    assert_eq!(outcome("request"), retry("requests"));
    assert_eq!(retry("successes"), 0);
    // Each ended in one way or the other.
    assert_eq!(retry("overflow") + retry("limit_exceeded"), requests);
    let backend = format!("outbound_http_route_backend_requests_total{{{ROUTE},{BACKEND}}}");
    assert_eq!(value(backend), requests + retry("requests"));
}

#[tokio::test]
async fn an_endpoint_that_is_gone_costs_an_attempt_that_is_counted() {
    let mesh = Mesh::start().await;
    let app = Peer::start(None, "app").await;
    mesh.control.policy(TO, named(|_| {}));
    let endpoints = [plain(nobody().await), plain(app.addr)];
    mesh.control.endpoints(LOCAL, &endpoints);
    let labels = format!("authority=\"{TO}\",outcome=\"connect\"");
    let series = format!("outbound_http_retries_total{{{labels}}}");
    while mesh.value(&series).is_none() {
        assert_eq!(mesh.get(TO).await.unwrap().body, "app");
    }
    mesh.assert_counted(&series, "1");
}
