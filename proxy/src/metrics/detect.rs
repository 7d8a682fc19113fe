//! `{inbound,outbound}_tcp_detect_http_*`: what connections turned out to be, and how long it took to
//! tell.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::{
    family::Family,
    histogram::{self, Bounds, Histogram},
    labels::{Labels, header, sample},
};
use crate::{detect::Detected, http::Version};

#[derive(Default)]
struct DetectSeries {
    results: [AtomicU64; RESULTS.len()],
    seconds: Histogram<3>,
}

const RESULTS: [&str; 5] = ["http/1", "http/2", "not_http", "read_timeout", "error"];

static BOUNDS: Bounds = Bounds::nanos(&[1_000_000, 100_000_000]);

/// Those of one direction.
pub(super) struct Detections {
    prefix: &'static str,
    series: Family<DetectSeries>,
}

impl Detections {
    /// `prefix` is the direction's.
    pub(super) fn new(prefix: &'static str) -> Self {
        let series = Family::new();
        Self { prefix, series }
    }

    /// Counts what was found. A client that closes without a byte is nothing to detect.
    pub(super) fn count(
        &self,
        labels: Labels,
        found: Result<Detected, &io::Error>,
        elapsed: Duration,
    ) {
        let result = match found {
            Ok(Detected::Http(Version::H1)) => 0,
            Ok(Detected::Http(Version::H2)) => 1,
            Ok(Detected::NotHttp) => 2,
            Ok(Detected::Timeout) => 3,
            Ok(Detected::Empty) => return,
            Err(_) => 4,
        };
        let series = self.series.resolve(labels.finish());
        series.results[result].fetch_add(1, Ordering::Relaxed);
        series.seconds.observe_time(&BOUNDS, elapsed);
    }

    pub(super) fn render(&self, out: &mut String, retain_idle: Duration) {
        let all = self.series.snapshot(retain_idle);
        if all.is_empty() {
            return;
        }
        let name = format!("{}_tcp_detect_http_results_total", self.prefix);
        header(out, &name, "counter", "Protocol detection results");
        for (labels, series) in &all {
            for (result, count) in RESULTS.iter().zip(&series.results) {
                let result = Labels::default().with("result", result);
                let value = count.load(Ordering::Relaxed);
                sample(out, &name, labels, &result, value);
            }
        }
        let name = format!("{}_tcp_detect_http_duration_seconds", self.prefix);
        let help = "Time taken for protocol detection";
        histogram::render_each(out, &name, help, &all, &BOUNDS, |series| &series.seconds);
    }
}
