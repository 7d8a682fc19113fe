//! The access log: a line for each request the workload received, once it is over, on standard error.
//! Off unless configured; the lines are those of stock proxies.

use std::{
    io::Write,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, Request, header};
use serde_json::{Map, Value};

use super::{Outcome, Subject};
use crate::{http::Body, metrics::TlsLabels};

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// As Apache's common log.
    Apache,
    /// A JSON object.
    Json,
}

/// Writes lines. Cloned freely.
#[derive(Clone)]
pub struct AccessLog {
    format: Format,
    write: Arc<dyn Fn(&str) + Send + Sync>,
}

/// A request whose line is not written yet.
pub struct Entry {
    log: AccessLog,
    client: String,
    id: String,
    timestamp: String,
    method: String,
    uri: String,
    version: String,
    host: String,
    user_agent: String,
    request_bytes: String,
    trace_id: String,
}

impl AccessLog {
    /// To standard error, where the proxy's own log goes.
    pub fn stderr(format: Format) -> Self {
        Self::to(format, |line| {
            // One write, so that lines of threads do not mix. Nobody is told if it fails: this was
            // the way to tell.
            let _ = std::io::stderr().write_all(line.as_bytes());
        })
    }

    /// To anybody; lines end with a line feed.
    pub fn to(format: Format, write: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self {
            format,
            write: Arc::new(write),
        }
    }

    pub(super) fn begin(
        &self,
        subject: Subject<'_>,
        now: SystemTime,
        request: &Request<Body>,
    ) -> Entry {
        let headers = request.headers();
        let text = |name| text(headers, name);
        let id = match subject.tls {
            TlsLabels::Client(Some(id)) => id.to_string(),
            _ => String::new(),
        };
        let authority = request.uri().authority();
        Entry {
            log: self.clone(),
            client: subject.client.to_string(),
            id,
            timestamp: prost_types::Timestamp::from(now).to_string(),
            method: request.method().to_string(),
            uri: request.uri().to_string(),
            version: format!("{:?}", request.version()),
            host: authority.map_or_else(|| text(header::HOST.as_str()), ToString::to_string),
            user_agent: text(header::USER_AGENT.as_str()),
            request_bytes: text(header::CONTENT_LENGTH.as_str()),
            trace_id: super::trace::context::trace_id(headers).unwrap_or_default(),
        }
    }
}

fn text(headers: &HeaderMap, name: &str) -> String {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_owned()
}

impl Entry {
    pub(super) fn end(self, outcome: &Outcome<'_>) {
        let mut line = match self.log.format {
            Format::Apache => self.apache(outcome),
            Format::Json => self.json(outcome),
        };
        line.push('\n');
        (self.log.write)(&line);
    }

    fn apache(&self, outcome: &Outcome<'_>) -> String {
        let id = if self.id.is_empty() { "-" } else { &self.id };
        format!(
            "{} {id} - [{}] \"{} {} {}\" {} {}",
            self.client,
            self.timestamp,
            self.method,
            self.uri,
            self.version,
            outcome.status.as_u16(),
            outcome.bytes,
        )
    }

    fn json(&self, outcome: &Outcome<'_>) -> String {
        let nanos = |time: Duration| Value::from(time.as_nanos().to_string());
        let mut fields = Map::new();
        for (key, value) in [
            ("client.addr", &self.client),
            ("client.id", &self.id),
            ("timestamp", &self.timestamp),
            ("method", &self.method),
            ("uri", &self.uri),
            ("version", &self.version),
            ("host", &self.host),
            ("user_agent", &self.user_agent),
            ("request_bytes", &self.request_bytes),
            ("trace_id", &self.trace_id),
        ] {
            fields.insert(key.to_owned(), value.as_str().into());
        }
        let processing = outcome.answered.duration_since(outcome.begun);
        fields.insert("processing_ns".to_owned(), nanos(processing));
        fields.insert("total_ns".to_owned(), nanos(outcome.begun.elapsed()));
        fields.insert("status".to_owned(), outcome.status.as_u16().into());
        let bytes = outcome.bytes.to_string();
        fields.insert("response_bytes".to_owned(), bytes.into());
        Value::Object(fields).to_string()
    }
}
