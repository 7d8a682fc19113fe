//! What there is of each kind of [`StreamSeries`], and what it is called.

use std::sync::atomic::Ordering;

use super::{
    family::{self, Labelled},
    histogram::{self, Bounds, Histogram},
    labels::{Labels, header, sample},
    stream::{Outcome, StreamSeries},
    words,
};

/// What of a policy is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Kind {
    OutboundHttpRoute,
    OutboundGrpcRoute,
    OutboundHttpBackend,
    OutboundGrpcBackend,
    InboundHttp,
    InboundGrpc,
}

/// What there is of a kind of series.
pub(super) struct Shape {
    prefix: &'static str,
    pub(super) grpc: bool,
    statuses: &'static str,
    labels: StatusLabels,
    pub(super) requests: bool,
    pub(super) request_seconds: Option<&'static Bounds>,
    pub(super) response_seconds: Option<&'static Bounds>,
    request_frames: bool,
    pub(super) response_frames: bool,
    retries: bool,
}

/// How the outcome is shown.
enum StatusLabels {
    /// `http_status`, or a word as `grpc_status`; and `error`.
    Outbound,
    /// The number, as `status`.
    Inbound,
}

static FINE: Bounds = Bounds::nanos(&[
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    10_000_000_000,
]);
static COARSE: Bounds = Bounds::nanos(&[50_000_000, 500_000_000, 1_000_000_000, 10_000_000_000]);
pub(super) static FRAMES: Bounds = Bounds::bytes(&[128, 1024, 10_240]);

pub(super) const RETRIES: [(&str, &str); 4] = [
    ("requests", "Retry requests emitted"),
    ("successes", "Successful responses to retry requests"),
    (
        "limit_exceeded",
        "Retryable responses not sent due to the retry limit",
    ),
    (
        "overflow",
        "Retryable responses not sent due to a lack of capacity",
    ),
];

const ROUTE: Shape = Shape {
    prefix: "outbound_http_route",
    grpc: false,
    statuses: "request_statuses",
    labels: StatusLabels::Outbound,
    requests: false,
    request_seconds: Some(&COARSE),
    response_seconds: None,
    request_frames: true,
    response_frames: false,
    retries: true,
};

const BACKEND: Shape = Shape {
    prefix: "outbound_http_route_backend",
    statuses: "response_statuses",
    requests: true,
    request_seconds: None,
    response_seconds: Some(&FINE),
    request_frames: false,
    response_frames: true,
    retries: false,
    ..ROUTE
};

const INBOUND: Shape = Shape {
    prefix: "inbound_http",
    statuses: "statuses",
    labels: StatusLabels::Inbound,
    requests: true,
    request_seconds: Some(&FINE),
    response_seconds: Some(&COARSE),
    request_frames: true,
    response_frames: true,
    retries: false,
    ..ROUTE
};

/// In the order of [`Kind`].
pub(super) static SHAPES: [Shape; 6] = [
    ROUTE,
    Shape {
        prefix: "outbound_grpc_route",
        grpc: true,
        ..ROUTE
    },
    BACKEND,
    Shape {
        prefix: "outbound_grpc_route_backend",
        grpc: true,
        ..BACKEND
    },
    INBOUND,
    Shape {
        prefix: "inbound_grpc",
        grpc: true,
        ..INBOUND
    },
];

type All = Labelled<StreamSeries>;

impl Shape {
    pub(super) fn render(&self, out: &mut String, all: &All) {
        let prefix = self.prefix;
        if self.requests {
            let name = format!("{prefix}_requests_total");
            let help = "The number of requests dispatched";
            family::render_each(out, &name, "counter", help, all, |series| {
                series.requests.load(Ordering::Relaxed)
            });
        }
        let name = format!("{prefix}_{}_total", self.statuses);
        header(out, &name, "counter", "Completed request-response streams");
        for (labels, series) in all {
            for (outcome, count) in series.statuses.read().iter() {
                let more = self.outcome(*outcome);
                sample(out, &name, labels, &more, count.load(Ordering::Relaxed));
            }
        }
        if let Some(bounds) = self.request_seconds {
            let name = format!("{prefix}_request_duration_seconds");
            let help = "The time between request initialization and response completion";
            histogram::render_each(out, &name, help, all, bounds, |s| &s.request_seconds);
        }
        if let Some(bounds) = self.response_seconds {
            let name = format!("{prefix}_response_duration_seconds");
            let help = "The time between request completion and response completion";
            histogram::render_each(out, &name, help, all, bounds, |s| &s.response_seconds);
        }
        self.render_frames(out, all);
        if self.retries {
            self.render_retries(out, all);
        }
    }

    fn render_frames(&self, out: &mut String, all: &All) {
        type Frames = fn(&StreamSeries) -> &Histogram<4>;
        let both: [(_, _, Frames); 2] = [
            (self.request_frames, "request", |s| &s.request_frames),
            (self.response_frames, "response", |s| &s.response_frames),
        ];
        for (_, which, frames) in both.into_iter().filter(|(shown, ..)| *shown) {
            let name = format!("{}_{which}_frame_size_bytes", self.prefix);
            histogram::render_each(out, &name, "Sizes of data frames", all, &FRAMES, frames);
        }
    }

    fn render_retries(&self, out: &mut String, all: &All) {
        for (i, (what, help)) in RETRIES.iter().enumerate() {
            let name = format!("{}_retry_{what}_total", self.prefix);
            family::render_each(out, &name, "counter", help, all, |series| {
                series.retries[i].load(Ordering::Relaxed)
            });
        }
    }

    fn outcome(&self, outcome: Outcome) -> Labels {
        let Outcome { status, error } = outcome;
        let number = || status.map(|status| status.to_string()).unwrap_or_default();
        let labels = Labels::default();
        match (&self.labels, self.grpc) {
            (StatusLabels::Inbound, _) => labels.with("status", &number()),
            (StatusLabels::Outbound, false) => labels
                .with("http_status", &number())
                .with("error", error.unwrap_or_default()),
            (StatusLabels::Outbound, true) => labels
                .with(
                    "grpc_status",
                    words::grpc(status.unwrap_or(words::GRPC_UNKNOWN)),
                )
                .with("error", error.unwrap_or_default()),
        }
    }
}
