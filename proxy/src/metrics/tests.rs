use super::*;
use crate::http::Body;
use ::http::Response;
use http_body_util::BodyExt;

fn labels() -> OutboundLabels {
    OutboundLabels {
        authority: "web.default.svc.cluster.local:80".into(),
        target: "10.0.0.7:8080".parse().unwrap(),
        tls: TlsLabels::Server("web.default.x".into()),
        dst: [("namespace".to_owned(), "a\"b\\c\nd".to_owned())].into(),
    }
}

const OUTBOUND: &str = "direction=\"outbound\",authority=\"web.default.svc.cluster.local:80\",\
     target_addr=\"10.0.0.7:8080\",target_ip=\"10.0.0.7\",target_port=\"8080\",tls=\"true\",\
     server_id=\"web.default.x\",dst_namespace=\"a\\\"b\\\\c\\nd\"";

fn metrics() -> Metrics {
    Metrics::new(Duration::from_secs(600))
}

fn line(text: &str, start: &str) -> bool {
    text.lines().any(|line| line == start)
}

#[tokio::test]
async fn a_response_counts_when_its_body_has_ended() {
    let metrics = metrics();
    let http = metrics.outbound_http(&labels());
    let exchange = http.request(false);
    let response = exchange.response(Response::new(Body::full("hello")));
    let text = metrics.render();
    assert!(
        line(&text, &format!("request_total{{{OUTBOUND}}} 1")),
        "{text}"
    );
    assert!(!text.contains("response_total{"));

    response.into_body().collect().await.unwrap();
    let text = metrics.render();
    let response =
        format!("response_total{{{OUTBOUND},status_code=\"200\",classification=\"success\"}} 1");
    assert!(line(&text, &response), "{text}");
    let bucket =
        format!("response_latency_ms_bucket{{{OUTBOUND},status_code=\"200\",le=\"50000\"}} 1");
    assert!(line(&text, &bucket), "{text}");
    let count = format!("response_latency_ms_count{{{OUTBOUND},status_code=\"200\"}} 1");
    assert!(line(&text, &count), "{text}");
}

#[tokio::test]
async fn grpc_is_judged_by_its_trailers() {
    let metrics = metrics();
    let http = metrics.outbound_http(&labels());
    for (code, class) in [("0", "success"), ("14", "failure"), ("5", "success")] {
        let mut trailers = ::http::HeaderMap::new();
        trailers.insert("grpc-status", code.parse().unwrap());
        let body = http_body_util::Full::new(bytes::Bytes::from("x"))
            .with_trailers(async move { Some(Ok(trailers)) });
        let response = http.request(true).response(Response::new(Body::new(body)));
        response.into_body().collect().await.unwrap();
        let expected = format!(
            "response_total{{{OUTBOUND},status_code=\"200\",classification=\"{class}\",\
             grpc_status=\"{code}\"}} 1"
        );
        let text = metrics.render();
        assert!(line(&text, &expected), "{text}");
    }
}

#[test]
fn what_is_not_answered_is_a_failure() {
    let metrics = metrics();
    let http = metrics.outbound_http(&labels());
    drop(http.request(false));
    http.request(false).error(&Error::FailFast("web".into()));
    let text = metrics.render();
    for error in ["cancelled", "failfast"] {
        let expected =
            format!("response_total{{{OUTBOUND},classification=\"failure\",error=\"{error}\"}} 1");
        assert!(line(&text, &expected), "{text}");
    }
}

#[tokio::test]
async fn connections_and_their_bytes_are_counted() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let metrics = metrics();
    let transport = metrics.outbound_transport(&labels());
    let (mut peer, io) = tokio::io::duplex(64);
    let mut io = transport.open(io);
    peer.write_all(b"abc").await.unwrap();
    io.read_exact(&mut [0; 3]).await.unwrap();
    io.write_all(b"de").await.unwrap();
    let series = OUTBOUND.replacen(
        "direction=\"outbound\"",
        "direction=\"outbound\",peer=\"dst\"",
        1,
    );
    let text = metrics.render();
    for (name, value) in [
        ("tcp_open_total", 1),
        ("tcp_open_connections", 1),
        ("tcp_read_bytes_total", 3),
        ("tcp_write_bytes_total", 2),
    ] {
        assert!(
            line(&text, &format!("{name}{{{series}}} {value}")),
            "{text}"
        );
    }
    drop(io);
    let text = metrics.render();
    assert!(line(&text, &format!("tcp_open_connections{{{series}}} 0")));
    assert!(line(
        &text,
        &format!("tcp_close_total{{{series},errno=\"\"}} 1")
    ));
}

#[test]
fn inbound_labels_are_those_of_stock_proxies() {
    let metrics = metrics();
    let server = Meta::default_named("all-unauthenticated");
    let tls = TlsLabels::None("no_tls_from_remote");
    let labels = InboundLabels {
        target: "10.0.0.7:8080".parse().unwrap(),
        tls: &tls,
        server: &server,
        route: Some(&Meta::default_named("default")),
        authz: None,
    };
    let count = metrics.inbound_count(Counter::HttpDeny, &labels);
    count.increment();
    let expected = "inbound_http_authz_deny_total{target_addr=\"10.0.0.7:8080\",\
         target_ip=\"10.0.0.7\",target_port=\"8080\",tls=\"no_identity\",\
         no_tls_reason=\"no_tls_from_remote\",srv_group=\"\",srv_kind=\"default\",\
         srv_name=\"all-unauthenticated\",srv_port=\"8080\",route_group=\"\",\
         route_kind=\"default\",route_name=\"default\"} 1";
    assert!(line(&metrics.render(), expected), "{}", metrics.render());
}
