//! Histograms: fixed buckets, counted without a lock.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::{
    family::Labelled,
    labels::{Labels, header, sample},
};

/// What falls into which bucket, in whole units of what is measured.
pub(super) struct Bounds {
    /// Inclusive upper bounds, rising.
    upper: &'static [u64],
    /// How the bounds and the sum are shown.
    shown: Shown,
}

/// How measured values are written.
enum Shown {
    /// As they are.
    Whole,
    /// As floating-point numbers, of a unit this many times as large.
    Per(f64),
}

/// How often values fell into each of up to `N` buckets, the last of which has no bound.
pub(super) struct Histogram<const N: usize> {
    buckets: [AtomicU64; N],
    sum: AtomicU64,
}

impl Bounds {
    /// Whole numbers.
    pub(super) const fn whole(upper: &'static [u64]) -> Self {
        let shown = Shown::Whole;
        Self { upper, shown }
    }

    /// Nanoseconds, shown as seconds.
    pub(super) const fn nanos(upper: &'static [u64]) -> Self {
        let shown = Shown::Per(1e9);
        Self { upper, shown }
    }

    /// Bytes, shown as OpenMetrics shows numbers.
    pub(super) const fn bytes(upper: &'static [u64]) -> Self {
        let shown = Shown::Per(1.0);
        Self { upper, shown }
    }

    fn show(&self, value: u64) -> String {
        match self.shown {
            Shown::Whole => value.to_string(),
            Shown::Per(unit) => format!("{:?}", value as f64 / unit),
        }
    }
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Self {
        Self {
            buckets: std::array::from_fn(|_| AtomicU64::new(0)),
            sum: AtomicU64::new(0),
        }
    }
}

impl<const N: usize> Histogram<N> {
    pub(super) fn observe(&self, bounds: &Bounds, value: u64) {
        let bucket = bounds.upper.partition_point(|bound| *bound < value);
        self.buckets[bucket.min(N - 1)].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// The same of a time, where bounds are in nanoseconds.
    pub(super) fn observe_time(&self, bounds: &Bounds, time: Duration) {
        self.observe(bounds, u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// How many values there were.
    pub(super) fn count(&self) -> u64 {
        let buckets = self.buckets.iter();
        buckets.map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }

    pub(super) fn render(
        &self,
        out: &mut String,
        name: &str,
        labels: &str,
        more: &Labels,
        bounds: &Bounds,
    ) {
        let bucket_name = format!("{name}_bucket");
        let mut total = 0;
        for (i, bucket) in self.buckets.iter().take(bounds.upper.len() + 1).enumerate() {
            total += bucket.load(Ordering::Relaxed);
            let bound = bounds.upper.get(i);
            let bound = bound.map_or("+Inf".to_owned(), |bound| bounds.show(*bound));
            let more = more.clone().with("le", &bound);
            sample(out, &bucket_name, labels, &more, total);
        }
        sample(out, &format!("{name}_count"), labels, more, total);
        let sum = bounds.show(self.sum.load(Ordering::Relaxed));
        sample(out, &format!("{name}_sum"), labels, more, sum);
    }
}

/// Writes a histogram of each series.
pub(super) fn render_each<S, const N: usize>(
    out: &mut String,
    name: &str,
    help: &str,
    all: &Labelled<S>,
    bounds: &Bounds,
    histogram: impl Fn(&S) -> &Histogram<N>,
) {
    header(out, name, "histogram", help);
    for (labels, series) in all {
        histogram(series).render(out, name, labels, &Labels::default(), bounds);
    }
}
