//! `request_total`, `response_total`, `response_latency_ms`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use http::Response;
use parking_lot::RwLock;

use super::{
    error_label,
    family::{Family, Series},
    labels::{Labels, header as family_header, sample},
};
use crate::{
    Error,
    http::{
        Body,
        headers::{GRPC_FAILURES, grpc_status, is_grpc_response},
        observe::{Observer, Seen, observe},
    },
};

/// The HTTP series of one target. Resolve once, keep, use for every request.
#[derive(Clone)]
pub struct HttpMetrics(pub(super) Arc<Series<HttpSeries>>);

/// One request on its way; not answering it counts as a failure.
pub struct Exchange {
    series: Arc<Series<HttpSeries>>,
    start: Instant,
    grpc: bool,
    recorded: bool,
}

#[derive(Default)]
pub(super) struct HttpSeries {
    requests: AtomicU64,
    /// A handful: one for each kind of answer seen.
    responses: RwLock<Vec<(Outcome, Arc<AtomicU64>)>>,
    latencies: RwLock<Vec<(Option<u16>, Arc<Histogram>)>>,
}

/// What responses are told apart by.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Outcome {
    status: Option<u16>,
    grpc: Option<u16>,
    success: bool,
    error: Option<&'static str>,
}

#[derive(Default)]
struct Histogram {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    sum: AtomicU64,
}

/// Upper bounds in milliseconds, as stock proxies have them.
const BOUNDS: [u64; 25] = [
    1, 2, 3, 4, 5, 10, 20, 30, 40, 50, 100, 200, 300, 400, 500, 1_000, 2_000, 3_000, 4_000, 5_000,
    10_000, 20_000, 30_000, 40_000, 50_000,
];

impl HttpMetrics {
    /// Counts a request that is about to be sent.
    pub fn request(&self, grpc: bool) -> Exchange {
        self.0.touch();
        self.0.requests.fetch_add(1, Ordering::Relaxed);
        Exchange {
            series: self.0.clone(),
            start: Instant::now(),
            grpc,
            recorded: false,
        }
    }
}

impl Exchange {
    /// Counts the response when its body has ended, with status, classification and latency.
    pub fn response(mut self, response: Response<Body>) -> Response<Body> {
        let status = response.status();
        let headers = response.headers();
        self.grpc |= is_grpc_response(headers);
        let answer = Answer {
            status: status.as_u16(),
            grpc: grpc_status(headers),
        };
        let measured = Measured {
            answer,
            exchange: self,
        };
        response.map(|body| observe(body, measured))
    }

    /// Counts a request that got no response.
    pub fn error(mut self, error: &Error) {
        self.record(None, Some(error_label(error)));
    }

    fn record(&mut self, answer: Option<Answer>, error: Option<&'static str>) {
        if std::mem::replace(&mut self.recorded, true) {
            return;
        }
        let grpc = answer.and_then(|a| a.grpc).filter(|_| self.grpc);
        let success = error.is_none()
            && match (self.grpc, grpc) {
                (true, Some(code)) => !GRPC_FAILURES.contains(&code),
                _ => answer.is_some_and(|a| a.status < 500),
            };
        let status = answer.map(|a| a.status);
        let outcome = Outcome {
            status,
            grpc,
            success,
            error,
        };
        let series = &self.series;
        series.touch();
        resolve(&series.responses, outcome).fetch_add(1, Ordering::Relaxed);
        let elapsed = self.start.elapsed().as_millis();
        resolve(&series.latencies, status).observe(u64::try_from(elapsed).unwrap_or(u64::MAX));
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.record(None, Some("cancelled"));
    }
}

#[derive(Clone, Copy)]
struct Answer {
    status: u16,
    grpc: Option<u16>,
}

/// A response that is recorded at its end.
struct Measured {
    answer: Answer,
    exchange: Exchange,
}

impl Observer for Measured {
    fn saw(&mut self, seen: Seen<'_>) {
        if let Seen::Frame { frame, .. } = &seen
            && let Some(trailers) = frame.trailers_ref()
        {
            self.answer.grpc = grpc_status(trailers).or(self.answer.grpc);
        }
        match seen {
            Seen::Failed => self.exchange.record(Some(self.answer), Some("i/o")),
            seen if seen.is_over() => self.exchange.record(Some(self.answer), None),
            _ => {}
        }
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        let answer = self.answer;
        self.exchange.record(Some(answer), Some("cancelled"));
    }
}

impl Histogram {
    fn observe(&self, ms: u64) {
        let bucket = BOUNDS.partition_point(|bound| *bound < ms);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(ms, Ordering::Relaxed);
    }
}

/// Finds or makes the entry for `key`.
fn resolve<K: Copy + PartialEq, V: Default>(entries: &RwLock<Vec<(K, Arc<V>)>>, key: K) -> Arc<V> {
    let find = |entries: &[(K, Arc<V>)]| {
        let found = entries.iter().find(|(k, _)| *k == key);
        found.map(|(_, value)| value.clone())
    };
    if let Some(found) = find(&entries.read()) {
        return found;
    }
    let mut entries = entries.write();
    find(&entries).unwrap_or_else(|| {
        let value = Arc::<V>::default();
        entries.push((key, value.clone()));
        value
    })
}

pub(super) fn render(
    out: &mut String,
    family: &Family<HttpSeries>,
    retain_idle: std::time::Duration,
) {
    let all = family.snapshot(retain_idle);
    let name = "request_total";
    family_header(out, name, "counter", "Total count of HTTP requests.");
    for (labels, series) in &all {
        let value = series.requests.load(Ordering::Relaxed);
        sample(out, name, labels, &Labels::default(), value);
    }
    let name = "response_total";
    family_header(out, name, "counter", "Total count of HTTP responses.");
    for (labels, series) in &all {
        for (outcome, count) in series.responses.read().iter() {
            sample(
                out,
                name,
                labels,
                &outcome.labels(),
                count.load(Ordering::Relaxed),
            );
        }
    }
    let help = "Elapsed times between a request's headers being received and its response stream \
                completing.";
    family_header(out, "response_latency_ms", "histogram", help);
    for (labels, series) in &all {
        for (status, histogram) in series.latencies.read().iter() {
            histogram.render(out, labels, *status);
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

impl Histogram {
    fn render(&self, out: &mut String, labels: &str, status: Option<u16>) {
        let more = match status {
            Some(status) => Labels::default().with("status_code", &status.to_string()),
            None => Labels::default(),
        };
        let mut total = 0;
        for (i, bucket) in self.buckets.iter().enumerate() {
            total += bucket.load(Ordering::Relaxed);
            let bound = BOUNDS.get(i).map_or("+Inf".to_owned(), u64::to_string);
            let more = more.clone().with("le", &bound);
            sample(out, "response_latency_ms_bucket", labels, &more, total);
        }
        sample(out, "response_latency_ms_count", labels, &more, total);
        let sum = self.sum.load(Ordering::Relaxed);
        sample(out, "response_latency_ms_sum", labels, &more, sum);
    }
}
