//! What the inbound half counts, by name, labels and value, as dashboards ask for it.

use linkerd2_proxy_api::{
    inbound::{
        self as api, HttpLocalRateLimit, Server, http_local_rate_limit,
        proxy_protocol::{Grpc, Http1, Kind},
    },
    meta,
};

use tokio::{io::AsyncWriteExt, net::TcpListener};

use super::{
    Addrs, port, read_response,
    sandbox::{CLIENT, Options, Sandbox, app, dial, eventually, h2, server, to_port},
};
use crate::{http::Body, io::boxed, transport_header::Session};

const GET: &str = "GET /a HTTP/1.1\r\nhost: web.default\r\n\r\n";
const POST: &str = "POST /a HTTP/1.1\r\nhost: web.default\r\ncontent-length: 3\r\n\r\nabc";

fn resource(group: &str, kind: &str, name: &str) -> Option<meta::Metadata> {
    Some(meta::Metadata {
        kind: Some(meta::metadata::Kind::Resource(meta::Resource {
            group: group.to_owned(),
            kind: kind.to_owned(),
            name: name.to_owned(),
            ..Default::default()
        })),
    })
}

/// A server of a kind, named as a control plane names it.
fn named(kind: Kind) -> Server {
    let labels = [
        ("group", "policy.linkerd.io"),
        ("kind", "server"),
        ("name", "web-http"),
    ];
    Server {
        labels: labels
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        ..server(kind, &[CLIENT])
    }
}

fn http1(limit: Option<HttpLocalRateLimit>) -> Kind {
    Kind::Http1(Http1 {
        routes: vec![api::HttpRoute {
            metadata: resource("gateway.networking.k8s.io", "HTTPRoute", "web-route"),
            rules: vec![api::http_route::Rule::default()],
            ..Default::default()
        }],
        local_rate_limit: limit,
    })
}

impl Sandbox {
    /// Sets a policy and waits until it is in force.
    async fn enforce(&self, port: u16, server: Server) {
        self.policies.set(port, server);
        eventually("the policy is known", || async {
            self.get(port, GET).await;
            self.metric(&["inbound_http_authz_allow_total{", "srv_name=\"web-http\""])
                .await
                > 0
        })
        .await;
    }

    async fn assert_counted(&self, series: &str, expected: &str) {
        let text = self.admin("/metrics").await;
        let found = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        let name = series.split('{').next().unwrap();
        let like: Vec<_> = text.lines().filter(|line| line.starts_with(name)).collect();
        assert_eq!(found, Some(expected), "{series} among {like:#?}");
    }
}

#[tokio::test]
async fn requests_are_counted_by_server_and_route() {
    let (mesh, app) = (Sandbox::start().await, app().await);
    mesh.enforce(app, named(http1(None))).await;
    let labels = format!(
        r#"parent_group="policy.linkerd.io",parent_kind="server",parent_name="web-http",parent_port="{app}",route_group="gateway.networking.k8s.io",route_kind="HTTPRoute",route_name="web-route""#
    );
    let before = mesh
        .metric(&["inbound_http_requests_total{", "parent_name=\"web-http\""])
        .await;
    let response = mesh.get(app, POST).await;
    assert!(response.ends_with("abc"), "{response}");
    let count = (before + 1).to_string();
    for (series, expected) in [
        (format!("inbound_http_requests_total{{{labels}}}"), &*count),
        (
            format!("inbound_http_statuses_total{{{labels},status=\"200\"}}"),
            &*count,
        ),
        (
            format!("inbound_http_request_duration_seconds_count{{{labels}}}"),
            &*count,
        ),
        (
            format!("inbound_http_request_duration_seconds_bucket{{{labels},le=\"10.0\"}}"),
            &*count,
        ),
        (
            format!("inbound_http_response_duration_seconds_count{{{labels}}}"),
            &*count,
        ),
        (
            format!("inbound_http_response_frame_size_bytes_count{{{labels}}}"),
            &*count,
        ),
        (
            format!("inbound_http_request_frame_size_bytes_count{{{labels}}}"),
            "1",
        ),
        (
            format!("inbound_http_request_frame_size_bytes_sum{{{labels}}}"),
            "3.0",
        ),
    ] {
        mesh.assert_counted(&series, expected).await;
    }
    // The proxy's own server is not the workload's.
    let admin = format!("parent_port=\"{}\"", mesh.admin.port());
    let text = mesh.admin("/metrics").await;
    assert!(!text.contains(&admin), "{text}");
}

#[tokio::test]
async fn calls_are_counted_by_the_routes_of_grpc() {
    let (mesh, app) = (Sandbox::start().await, app().await);
    let grpc = Kind::Grpc(Grpc {
        routes: vec![api::GrpcRoute {
            metadata: resource("gateway.networking.k8s.io", "GRPCRoute", "web-route"),
            rules: vec![api::grpc_route::Rule::default()],
            ..Default::default()
        }],
    });
    mesh.policies.set(app, named(grpc));
    let labels = format!(
        r#"parent_group="policy.linkerd.io",parent_kind="server",parent_name="web-http",parent_port="{app}",route_group="gateway.networking.k8s.io",route_kind="GRPCRoute",route_name="web-route""#
    );
    eventually("a call is counted", || async {
        let mut send = h2(mesh.direct(to_port(app, Session::Http2)).await).await;
        let call = http::Request::post("http://web.default/svc/Method");
        let response = send.send_request(call.body(Body::empty()).unwrap()).await;
        let body = response.unwrap().into_body();
        http_body_util::BodyExt::collect(body).await.unwrap();
        let text = mesh.admin("/metrics").await;
        // The application says nothing of a status.
        text.contains(&format!(
            "inbound_grpc_statuses_total{{{labels},status=\"\"}} 1"
        )) && text.contains(&format!("inbound_grpc_requests_total{{{labels}}} 1"))
    })
    .await;
}

#[tokio::test]
async fn whoever_is_limited_is_counted_by_the_limit() {
    let (mesh, app) = (Sandbox::start().await, app().await);
    let limit = HttpLocalRateLimit {
        metadata: resource("policy.linkerd.io", "httplocalratelimitpolicy", "web-limit"),
        total: Some(http_local_rate_limit::Limit {
            requests_per_second: 1,
        }),
        ..Default::default()
    };
    mesh.enforce(app, named(http1(Some(limit)))).await;
    eventually("a request is limited", || async {
        mesh.get(app, GET).await.starts_with("HTTP/1.1 429")
    })
    .await;
    let text = mesh.admin("/metrics").await;
    let name = "inbound_http_local_ratelimit_total{";
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    let limit = r#"ratelimit_group="policy.linkerd.io",ratelimit_kind="httplocalratelimitpolicy",ratelimit_name="web-limit",ratelimit_scope="total"} "#;
    assert!(line.contains(limit), "{line}");
}

#[tokio::test]
async fn what_a_connection_turned_out_to_be_is_counted() {
    let (mesh, app) = (Sandbox::start().await, app().await);
    let (inbound, (_drainer, drain)) = mesh.half("all-unauthenticated");
    let metrics = inbound.0.runtime.metrics.clone();
    let listener = TcpListener::bind("127.77.0.1:0").await.unwrap();
    let mut io = boxed(dial(listener.local_addr().unwrap()).await);
    let (accepted, client) = listener.accept().await.unwrap();
    let addrs = Addrs {
        client,
        original: ([127, 77, 0, 1], app).into(),
    };
    tokio::spawn(async move { port::serve(&inbound, addrs, accepted, drain).await });
    io.write_all(GET.as_bytes()).await.unwrap();
    read_response(&mut io).await;
    let text = metrics.render();
    let labels = format!(
        r#"srv_group="",srv_kind="default",srv_name="all-unauthenticated",srv_port="{app}""#
    );
    for line in [
        format!("inbound_tcp_detect_http_results_total{{{labels},result=\"http/1\"}} 1"),
        format!("inbound_tcp_detect_http_results_total{{{labels},result=\"http/2\"}} 0"),
        format!("inbound_tcp_detect_http_duration_seconds_count{{{labels}}} 1"),
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
}

/// What requests for `hosts` of one connection are counted as: the lines of `request_total`.
async fn counted_by_host(vars: Vec<(&'static str, String)>, hosts: &[String]) -> Vec<String> {
    let options = Options {
        vars,
        ..Options::default()
    };
    let (mesh, app) = (Sandbox::with(options).await, app().await);
    let mut io = mesh.direct(to_port(app, Session::Http1)).await;
    for host in hosts {
        let request = format!("GET /a HTTP/1.1\r\nhost: {host}\r\n\r\n");
        io.write_all(request.as_bytes()).await.unwrap();
        read_response(&mut io).await;
    }
    let port = format!("srv_port=\"{app}\"");
    let text = mesh.admin("/metrics").await;
    let lines = text
        .lines()
        .filter(|line| line.starts_with("request_total{"));
    let lines = lines.filter(|line| line.contains(&port));
    lines.map(str::to_owned).collect()
}

fn authority_labels() -> Vec<(&'static str, String)> {
    vec![("INBOUND_METRICS_AUTHORITY_LABELS", "unsafe".to_owned())]
}

#[tokio::test]
async fn requests_are_counted_by_whom_they_are_for_where_that_is_wanted() {
    let hosts = ["web.shop", "WEB.shop:80", "web.shop:8080", "10.0.0.1"].map(str::to_owned);
    let counted = counted_by_host(authority_labels(), &hosts).await;
    for (authority, count) in [("web.shop", 2), ("web.shop:8080", 1)] {
        let start =
            format!("request_total{{direction=\"inbound\",authority=\"{authority}\",target_addr=");
        let found = counted
            .iter()
            .any(|line| line.starts_with(&start) && line.ends_with(&format!("}} {count}")));
        assert!(found, "{start} among {counted:#?}");
    }
    // An address is none.
    let none = "request_total{direction=\"inbound\",target_addr=";
    assert!(counted.iter().any(|line| line.starts_with(none)));
    let by_default = counted_by_host(Vec::new(), &hosts).await;
    assert_eq!(by_default.len(), 1, "{by_default:#?}");
    assert!(by_default[0].starts_with(none), "{by_default:#?}");
}

#[tokio::test]
async fn a_connection_with_many_authorities_counts_each_of_them() {
    // The first again at the end, when its series is not at hand any more.
    let mut hosts: Vec<_> = (0..100).map(|n| format!("host-{n}")).collect();
    hosts.push("host-0".to_owned());
    let counted = counted_by_host(authority_labels(), &hosts).await;
    assert_eq!(counted.len(), 100);
    let first = counted.iter().find(|line| line.contains("\"host-0\""));
    assert!(first.unwrap().ends_with("} 2"), "{first:?}");
}
