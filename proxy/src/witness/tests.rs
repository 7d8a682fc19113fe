//! A request, and what is written and told of it.

use std::sync::Arc;

use http_body_util::BodyExt;
use mesh_daemon::net::Resolver;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
    trace_service_server::{TraceService, TraceServiceServer},
};
use parking_lot::Mutex;
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::wrappers::TcpListenerStream;

use super::{
    access_log::{AccessLog, Format},
    trace::Tracer,
    *,
};
use crate::config::{ControlAddr, Trace};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn client() -> TlsLabels {
    TlsLabels::Client(Some("client.default".into()))
}

fn subject(tls: &TlsLabels) -> Subject<'_> {
    Subject {
        direction: Direction::Inbound,
        client: ([10, 0, 0, 1], 40_000).into(),
        server: ([10, 0, 0, 2], 8080).into(),
        tls,
        labels: &[],
    }
}

fn request() -> Request<Body> {
    Request::get("/a?b=c")
        .header("host", "web:8080")
        .header("user-agent", "curl \"x\"")
        .header("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01"))
        .body(Body::empty())
        .unwrap()
}

async fn answer(witnesses: &Witnesses, request: &mut Request<Body>) {
    let tls = client();
    let watched = witnesses.begin(subject(&tls), request).unwrap();
    let response = watched.response(Response::new(Body::full("hello")));
    response.into_body().collect().await.unwrap();
}

fn log(format: Format) -> (Witnesses, Arc<Mutex<Vec<String>>>) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let written = lines.clone();
    let log = AccessLog::to(format, move |line| written.lock().push(line.to_owned()));
    (Witnesses::new(Some(log), None), lines)
}

#[tokio::test]
async fn a_line_is_written_when_a_request_is_over() {
    let (witnesses, lines) = log(Format::Apache);
    answer(&witnesses, &mut request()).await;
    let line = lines.lock().remove(0);
    let (before, rest) = line.split_once('[').unwrap();
    let (time, after) = rest.split_once(']').unwrap();
    assert_eq!(before, "10.0.0.1:40000 client.default - ");
    assert_eq!(after, " \"GET /a?b=c HTTP/1.1\" 200 5\n");
    assert!(time.starts_with("20") && time.ends_with('Z'), "{time}");

    let (witnesses, lines) = log(Format::Json);
    answer(&witnesses, &mut request()).await;
    let line: serde_json::Value = serde_json::from_str(&lines.lock()[0]).unwrap();
    for (key, expected) in [
        ("client.addr", "10.0.0.1:40000"),
        ("client.id", "client.default"),
        ("host", "web:8080"),
        ("method", "GET"),
        ("response_bytes", "5"),
        ("trace_id", TRACE),
        ("uri", "/a?b=c"),
        ("user_agent", "curl \"x\""),
        ("version", "HTTP/1.1"),
    ] {
        assert_eq!(line[key], expected, "{key}");
    }
    assert_eq!(line["status"], 200);
    assert!(line["total_ns"].as_str().unwrap().parse::<u64>().is_ok());
}

#[tokio::test]
async fn a_request_that_fails_or_is_given_up_has_its_line_too() {
    let (witnesses, lines) = log(Format::Apache);
    let tls = client();
    let begin = || witnesses.begin(subject(&tls), &mut request()).unwrap();
    begin().failed(&Error::RateLimited);
    drop(begin());
    let response = begin().response(Response::new(Body::full("never read")));
    drop(response);
    let lines = lines.lock();
    for (line, status) in lines.iter().zip(["429 0", "499 0", "200 0"]) {
        assert!(line.trim_end().ends_with(status), "{line}");
    }
    assert_eq!(lines.len(), 3);
}

struct Collector(mpsc::Sender<ExportTraceServiceRequest>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let told = self.0.send(request.into_inner()).await;
        told.map_err(|_| tonic::Status::unavailable("gone"))?;
        Ok(tonic::Response::new(Default::default()))
    }
}

#[tokio::test]
async fn a_collector_is_told_of_requests_that_are_part_of_a_trace() {
    let (told, mut spans) = mpsc::channel(10);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let services = mesh_tls::control::Services::new();
    let services = services.add(TraceServiceServer::new(Collector(told)));
    let serving = tonic::transport::Server::builder()
        .serve_with_incoming(services, TcpListenerStream::new(listener));
    let collector = tokio::spawn(serving);

    let (tracer, exporter) = Tracer::new();
    let config = Trace {
        addr: ControlAddr {
            host: addr.ip().to_string(),
            port: addr.port(),
            name: None,
        },
        attributes: [("service.name".to_owned(), "web".to_owned())].into(),
    };
    let ca = mesh_tls::testing::Ca::new("unused");
    let store = mesh_tls::Store::new("web.default".parse().unwrap(), ca.anchors());
    let channel = {
        let metrics = crate::metrics::Metrics::new(std::time::Duration::from_secs(60));
        let (trace, resolver) = (crate::metrics::ControlClient::Trace, Resolver::new(None));
        crate::control::channel(trace, &config.addr, &store, &resolver, &metrics)
    };
    let (trigger, shutdown) = mesh_daemon::shutdown();
    let exporting = tokio::spawn(exporter.run(config, channel, shutdown));

    let witnesses = Witnesses::new(None, Some(tracer));
    // Part of no trace.
    let tls = client();
    let mut alone = Request::get("/").body(Body::empty()).unwrap();
    assert!(witnesses.begin(subject(&tls), &mut alone).is_none());
    let mut traced = request();
    answer(&witnesses, &mut traced).await;

    let told = spans.recv().await.unwrap();
    let resource = &told.resource_spans[0];
    let service = &resource.resource.as_ref().unwrap().attributes[0];
    assert_eq!(service.key, "service.name");
    let span = &resource.scope_spans[0].spans[0];
    assert_eq!(span.trace_id[..2], [0x4b, 0xf9]);
    assert_eq!(span.parent_span_id[..2], [0x00, 0xf0]);
    assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
    // Whoever is asked next is asked by this span.
    let own: String = span.span_id.iter().map(|b| format!("{b:02x}")).collect();
    let passed_on = traced.headers()["traceparent"].to_str().unwrap();
    assert_eq!(passed_on, format!("00-{TRACE}-{own}-01"));

    // What is left at the end is told, too.
    answer(&witnesses, &mut request()).await;
    trigger.shutdown();
    exporting.await.unwrap();
    assert!(spans.recv().await.is_some());
    collector.abort();
}
