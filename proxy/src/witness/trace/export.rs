//! Telling a collector about spans: in batches, over the same channels as the control plane. What a
//! collector does not take is lost; it is not worth the memory.

use std::time::Duration;

use mesh_daemon::Shutdown;
use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, trace_service_client::TraceServiceClient},
    common::v1::InstrumentationScope,
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use tokio::{sync::mpsc, time::timeout};

use crate::{config::Trace, control::Channel};

/// Tells the collector.
pub struct Exporter(mpsc::Receiver<Span>);

/// Spans in one message.
const BATCH: usize = 512;
/// How long a span waits for others.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a collector may take.
const LIMIT: Duration = Duration::from_secs(10);

impl Exporter {
    pub(super) fn new(spans: mpsc::Receiver<Span>) -> Self {
        Self(spans)
    }

    /// Tells the collector behind `channel` until shutdown, and then what is left.
    pub async fn run(mut self, config: Trace, channel: Channel, shutdown: Shutdown) {
        let mut client = TraceServiceClient::new(channel);
        let mut failing = false;
        loop {
            let stopping = shutdown.is_requested();
            let spans = self.batch(&shutdown).await;
            if !spans.is_empty() {
                let count = spans.len();
                let request = request(&config, spans);
                let sent = timeout(LIMIT, client.export(request)).await;
                let failed = match sent {
                    Ok(Ok(_)) => None,
                    Ok(Err(status)) => Some(status.to_string()),
                    Err(_) => Some(format!("no answer within {LIMIT:?}")),
                };
                match failed {
                    // Said once, not for every batch.
                    Some(why) if !failing => {
                        tracing::warn!(count, why, "the trace collector takes no spans");
                        failing = true;
                    }
                    Some(_) => {}
                    None => failing = false,
                }
            }
            if stopping {
                return;
            }
        }
    }

    /// The next spans; none only if the proxy stops.
    async fn batch(&mut self, shutdown: &Shutdown) -> Vec<Span> {
        let mut spans = Vec::new();
        let fill = async {
            self.0.recv_many(&mut spans, BATCH).await;
            let rest = async {
                while spans.len() < BATCH {
                    let room = BATCH - spans.len();
                    if self.0.recv_many(&mut spans, room).await == 0 {
                        return;
                    }
                }
            };
            // Late or full, it is told.
            let _ = timeout(PAUSE, rest).await;
        };
        tokio::select! {
            () = fill => {}
            () = shutdown.requested() => {
                while spans.len() < BATCH && let Ok(span) = self.0.try_recv() {
                    spans.push(span);
                }
            }
        }
        spans
    }
}

fn request(config: &Trace, spans: Vec<Span>) -> ExportTraceServiceRequest {
    let attributes = config.attributes.iter();
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: attributes.map(|(k, v)| super::text(k, v)).collect(),
                ..Default::default()
            }),
            scope_spans: vec![ScopeSpans {
                scope: Some(InstrumentationScope {
                    name: "mesh-proxy".to_owned(),
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                    ..Default::default()
                }),
                spans,
                ..Default::default()
            }],
            ..Default::default()
        }],
    }
}
