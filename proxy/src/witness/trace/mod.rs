//! Traces: a span for each request whose headers ask for one, told to an OpenTelemetry collector.
//!
//! [`context`] reads and writes the headers (pure), [`export`] tells the collector. Requests never wait:
//! spans that do not fit in the queue are dropped. Requests that are part of no trace are left as
//! they are.

pub(super) mod context;
mod export;

use std::time::SystemTime;

use http::Request;
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value::Value},
    trace::v1::{self as api, span::SpanKind, status::StatusCode},
};
use tokio::sync::mpsc;

use self::context::Context;
use super::{Outcome, Subject};
use crate::{
    http::Body,
    metrics::{Direction, TlsLabels},
};

pub use export::Exporter;

/// Makes spans. Cloned freely.
#[derive(Clone)]
pub struct Tracer(mpsc::Sender<api::Span>);

/// A span that goes on.
pub struct Span {
    tracer: Tracer,
    span: api::Span,
}

/// Spans that wait to be told.
const QUEUE: usize = 4096;

impl Tracer {
    /// And who tells the collector.
    pub fn new() -> (Self, Exporter) {
        let (spans, told) = mpsc::channel(QUEUE);
        (Self(spans), Exporter::new(told))
    }

    /// A span for a request that is part of a trace.
    pub(super) fn begin(
        &self,
        subject: Subject<'_>,
        now: SystemTime,
        request: &mut Request<Body>,
    ) -> Option<Span> {
        let context = context::sampled(request.headers())?;
        let own: [u8; 8] = rand::random();
        let span = begin(subject, now, request, &context, own);
        context.propagate(own, request);
        Some(Span {
            tracer: self.clone(),
            span,
        })
    }
}

fn begin(
    subject: Subject<'_>,
    now: SystemTime,
    request: &Request<Body>,
    context: &Context,
    own: [u8; 8],
) -> api::Span {
    let (kind, direction) = match subject.direction {
        Direction::Inbound => (SpanKind::Server, "inbound"),
        Direction::Outbound => (SpanKind::Client, "outbound"),
    };
    let uri = request.uri();
    let host = request.headers().get(http::header::HOST);
    let host = host.and_then(|host| host.to_str().ok());
    let authority = uri.authority().map(|authority| authority.as_str());
    let mut attributes = vec![
        text("direction", direction),
        text("http.request.method", request.method().as_str()),
        text("url.path", uri.path()),
        text("url.scheme", uri.scheme_str().unwrap_or("http")),
        text("client.address", &subject.client.ip().to_string()),
        text("server.address", &subject.server.ip().to_string()),
        number("server.port", subject.server.port().into()),
    ];
    if let Some(host) = authority.or(host) {
        attributes.push(text("http.request.header.host", host));
    }
    match subject.tls {
        TlsLabels::Client(Some(id)) => attributes.push(text("tls.client.id", id)),
        TlsLabels::Server(id) => attributes.push(text("tls.server.id", id)),
        TlsLabels::Client(None) | TlsLabels::Opaque(_) | TlsLabels::None(_) => {}
    }
    api::Span {
        trace_id: context.trace.to_vec(),
        span_id: own.to_vec(),
        parent_span_id: context.parent.to_vec(),
        // Sampled.
        flags: 1,
        name: uri.path().to_owned(),
        kind: kind.into(),
        start_time_unix_nano: nanos(now),
        attributes,
        ..Default::default()
    }
}

impl Span {
    pub(super) fn end(mut self, outcome: &Outcome<'_>) {
        let took = u64::try_from(outcome.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.span.end_time_unix_nano = self.span.start_time_unix_nano.saturating_add(took);
        let status = outcome.status.as_u16();
        let attributes = &mut self.span.attributes;
        attributes.push(number("http.response.status_code", status.into()));
        if let Some(code) = outcome.grpc {
            attributes.push(number("rpc.grpc.status_code", code.into()));
        }
        if outcome.status.is_server_error() || !outcome.whole {
            self.span.status = Some(api::Status {
                message: String::new(),
                code: StatusCode::Error.into(),
            });
        }
        // Full or gone: nobody waits for it.
        let _ = self.tracer.0.try_send(self.span);
    }
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}

pub(super) fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

fn number(key: &str, value: i64) -> KeyValue {
    attribute(key, Value::IntValue(value))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..Default::default()
    }
}
