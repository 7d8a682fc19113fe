//! `outbound_{http,grpc}_route_*` and their like: requests as the routes of policies see them.
//!
//! One [`StreamSeries`] holds what is counted of a route, of one of its backends, or of a route of
//! an inbound server; its [`Shape`] says which of that there is, and what it is called.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body::Frame;
use parking_lot::RwLock;

use super::{
    family::{Family, Series, note},
    histogram::Histogram,
    labels::Labels,
    shape::{FRAMES, Kind, RETRIES, SHAPES, Shape},
};

/// The series of one route, or of a backend in one. Resolve once, keep, use for every request.
#[derive(Clone)]
pub struct StreamMetrics(pub(super) Arc<Series<StreamSeries>>);

/// What became of a retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Retried {
    /// Another request was sent.
    Request,
    /// One of them was answered as the route wants it.
    Success,
    /// None was, and there may be no more.
    LimitExceeded,
    /// None may be sent now.
    Overflow,
}

pub(super) struct StreamSeries {
    shape: &'static Shape,
    pub(super) requests: AtomicU64,
    /// A handful: one for each kind of answer seen.
    pub(super) statuses: RwLock<Vec<(Outcome, AtomicU64)>>,
    pub(super) request_seconds: Histogram<8>,
    pub(super) response_seconds: Histogram<8>,
    pub(super) request_frames: Histogram<4>,
    pub(super) response_frames: Histogram<4>,
    pub(super) retries: [AtomicU64; RETRIES.len()],
}

/// What streams are told apart by at their end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Of HTTP or, in series of gRPC, of that.
    pub(super) status: Option<u16>,
    pub(super) error: Option<&'static str>,
}

/// Series of every kind.
pub(super) struct Streams([Family<StreamSeries>; SHAPES.len()]);

impl Streams {
    pub(super) fn new() -> Self {
        Self(std::array::from_fn(|_| Family::new()))
    }

    pub(super) fn resolve(&self, kind: Kind, labels: Labels) -> StreamMetrics {
        let make = || StreamSeries::new(&SHAPES[kind as usize]);
        StreamMetrics(self.0[kind as usize].resolve_or(labels.finish(), make))
    }

    pub(super) fn render(&self, out: &mut String, retain_idle: Duration) {
        for (family, shape) in self.0.iter().zip(&SHAPES) {
            let all = family.snapshot(retain_idle);
            if !all.is_empty() {
                shape.render(out, &all);
            }
        }
    }
}

impl StreamMetrics {
    /// Counts data of a request's body.
    pub(crate) fn request_frame(&self, frame: &Frame<Bytes>) {
        if let Some(data) = frame.data_ref() {
            self.0.request_frames.observe(&FRAMES, data.len() as u64);
        }
    }

    /// Counts what became of a retry.
    pub(crate) fn retried(&self, what: Retried) {
        self.0.retries[what as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn shape(&self) -> &'static Shape {
        self.0.shape
    }

    pub(super) fn begin(&self) {
        if self.0.shape.requests {
            self.0.requests.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn response_frame(&self, frame: &Frame<Bytes>) {
        if self.0.shape.response_frames
            && let Some(data) = frame.data_ref()
        {
            self.0.response_frames.observe(&FRAMES, data.len() as u64);
        }
    }

    /// Counts a stream that ends at `now`, began at `start`, and whose request was over at `sent`.
    pub(super) fn end(
        &self,
        outcome: Outcome,
        now: Instant,
        start: Instant,
        sent: Option<Instant>,
    ) {
        let series = &self.0;
        series.touch_at(now);
        note(&series.statuses, outcome, |count| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let since = |then| now.saturating_duration_since(then);
        if let Some(bounds) = series.shape.request_seconds {
            series.request_seconds.observe_time(bounds, since(start));
        }
        if let Some(bounds) = series.shape.response_seconds {
            let elapsed = sent.map_or(Duration::ZERO, since);
            series.response_seconds.observe_time(bounds, elapsed);
        }
    }
}

impl StreamSeries {
    fn new(shape: &'static Shape) -> Self {
        Self {
            shape,
            requests: AtomicU64::new(0),
            statuses: RwLock::default(),
            request_seconds: Histogram::default(),
            response_seconds: Histogram::default(),
            request_frames: Histogram::default(),
            response_frames: Histogram::default(),
            retries: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}
