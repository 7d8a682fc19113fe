//! `request_total`, `response_total`, `response_latency_ms`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::RwLock;

use super::{
    exchange::Exchange,
    family::{Family, Series, note, render_each},
    histogram::{Bounds, Histogram},
    labels::{Labels, header as family_header, sample},
};

/// The HTTP series of one target. Resolve once, keep, use for every request.
#[derive(Clone)]
pub struct HttpMetrics(pub(super) Arc<Series<HttpSeries>>);

#[derive(Default)]
pub(super) struct HttpSeries {
    requests: AtomicU64,
    /// A handful: one for each kind of answer seen.
    responses: RwLock<Vec<(Outcome, AtomicU64)>>,
    latencies: RwLock<Vec<(Option<u16>, Histogram<26>)>>,
}

/// What responses are told apart by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) status: Option<u16>,
    pub(super) grpc: Option<u16>,
    pub(super) success: bool,
    pub(super) error: Option<&'static str>,
}

/// In milliseconds, as stock proxies have them.
static BOUNDS: Bounds = Bounds::whole(&[
    1, 2, 3, 4, 5, 10, 20, 30, 40, 50, 100, 200, 300, 400, 500, 1_000, 2_000, 3_000, 4_000, 5_000,
    10_000, 20_000, 30_000, 40_000, 50_000,
]);

impl HttpMetrics {
    /// Counts a request that is about to be sent.
    pub fn request(&self, grpc: bool) -> Exchange {
        Exchange::new(Some(self.clone()), grpc)
    }

    pub(super) fn begin(&self, now: Instant) {
        self.0.touch_at(now);
        self.0.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request that ends at `now`.
    pub(super) fn end(&self, outcome: Outcome, now: Instant, elapsed: Duration) {
        let series = &self.0;
        series.touch_at(now);
        note(&series.responses, outcome, |count| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let elapsed = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        note(&series.latencies, outcome.status, |histogram| {
            histogram.observe(&BOUNDS, elapsed);
        });
    }
}

/// Writes the series with names that begin with `prefix`.
pub(super) fn render(
    out: &mut String,
    prefix: &str,
    family: &Family<HttpSeries>,
    retain_idle: Duration,
) {
    let all = family.snapshot(retain_idle);
    if all.is_empty() {
        return;
    }
    let name = format!("{prefix}request_total");
    let help = "Total count of HTTP requests.";
    render_each(out, &name, "counter", help, &all, |series| {
        series.requests.load(Ordering::Relaxed)
    });
    let name = format!("{prefix}response_total");
    family_header(out, &name, "counter", "Total count of HTTP responses.");
    for (labels, series) in &all {
        for (outcome, count) in series.responses.read().iter() {
            let value = count.load(Ordering::Relaxed);
            sample(out, &name, labels, &outcome.labels(), value);
        }
    }
    let name = format!("{prefix}response_latency_ms");
    let help = "Elapsed times between a request's headers being received and its response stream \
                completing.";
    family_header(out, &name, "histogram", help);
    for (labels, series) in &all {
        for (status, histogram) in series.latencies.read().iter() {
            let more = match status {
                Some(status) => Labels::default().with("status_code", &status.to_string()),
                None => Labels::default(),
            };
            histogram.render(out, &name, labels, &more, &BOUNDS);
        }
    }
}

impl Outcome {
    fn labels(&self) -> Labels {
        let mut labels = Labels::default();
        if let Some(status) = self.status {
            labels.push("status_code", &status.to_string());
        }
        let classification = match self.success {
            true => "success",
            false => "failure",
        };
        labels.push("classification", classification);
        if let Some(grpc) = self.grpc {
            labels.push("grpc_status", &grpc.to_string());
        }
        if let Some(error) = self.error {
            labels.push("error", error);
        }
        labels
    }
}
