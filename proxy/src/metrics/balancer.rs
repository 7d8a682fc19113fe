//! `outbound_{http,tcp,tls}_balancer_*`: who waits for an endpoint, and which endpoints there are.
//!
//! Requests count in series of their own ([`QueueMetrics`]), resolved once for each backend of a
//! route. Everything else is asked of the balancers ([`Source`]) when it is scraped.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::{
    family::{self, Family, Labelled, Series},
    histogram::{self, Bounds, Histogram},
    labels::{Labels, header, sample},
};

/// What a balancer balances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(usize)]
pub(crate) enum Balanced {
    Http,
    Tcp,
    Tls,
}

/// In the order of [`Balanced`].
const PREFIXES: [&str; 3] = [
    "outbound_http_balancer",
    "outbound_tcp_balancer",
    "outbound_tls_balancer",
];

/// A balancer, when somebody scrapes.
pub(crate) trait Source: Send + Sync {
    /// How it is now.
    fn snapshot(&self) -> Snapshot;
}

/// How a balancer is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Snapshot {
    /// Endpoints that can serve.
    pub(crate) ready: u64,
    /// Endpoints that cannot now.
    pub(crate) pending: u64,
    /// Updates of discovery: that add, that remove, that say everything anew.
    pub(crate) updates: [u64; 3],
    /// How many requests wait.
    pub(crate) waiting: u64,
    /// How often requests began to be served, and to fail at once.
    pub(crate) gate: [u64; 2],
    /// Since when the gate is open, and shut, in seconds since the epoch; 0: it is not.
    pub(crate) gate_since: [f64; 2],
    /// How long a request waits, in seconds.
    pub(crate) gate_timeout: f64,
}

/// Those who wait for an endpoint of one backend of a route. Resolve once, keep.
#[derive(Clone)]
pub struct QueueMetrics(Arc<Series<Latencies>>);

/// How long each of them waited.
type Latencies = Histogram<7>;

static LATENCY: Bounds = Bounds::nanos(&[
    500_000,
    5_000_000,
    50_000_000,
    500_000_000,
    1_000_000_000,
    3_000_000_000,
]);

/// Everything of balancers.
pub(super) struct Balancers {
    queues: [Family<Latencies>; PREFIXES.len()],
    sources: Mutex<Sources>,
}

#[derive(Default)]
struct Sources {
    all: BTreeMap<Key, Vec<Weak<dyn Source>>>,
    /// With so many labels, those whose balancers are gone are looked for.
    sweep_at: usize,
}

/// What balancers are told apart by: their labels, last.
type Key = (Balanced, Arc<str>);

const SWEEP_AT: usize = 1_000;

impl Balancers {
    pub(super) fn new() -> Self {
        Self {
            queues: std::array::from_fn(|_| Family::new()),
            sources: Mutex::default(),
        }
    }

    pub(super) fn queue(&self, balanced: Balanced, labels: Labels) -> QueueMetrics {
        QueueMetrics(self.queues[balanced as usize].resolve(labels.finish()))
    }

    /// Shows a balancer with these labels for as long as it lives.
    pub(super) fn add(&self, balanced: Balanced, labels: Labels, source: Weak<dyn Source>) {
        let mut sources = self.sources.lock();
        if sources.all.len() >= sources.sweep_at {
            sources.sweep();
            sources.sweep_at = SWEEP_AT.max(sources.all.len() * 2);
        }
        let known = sources.all.entry((balanced, labels.finish())).or_default();
        known.retain(|known| known.strong_count() > 0);
        if !known.iter().any(|known| known.ptr_eq(&source)) {
            known.push(source);
        }
    }

    pub(super) fn render(&self, out: &mut String, retain_idle: Duration) {
        let snapshots = self.sources.lock().snapshots();
        for (family, (balanced, prefix)) in self.queues.iter().zip([
            (Balanced::Http, PREFIXES[0]),
            (Balanced::Tcp, PREFIXES[1]),
            (Balanced::Tls, PREFIXES[2]),
        ]) {
            let of_kind = snapshots.iter().filter(|((kind, _), _)| *kind == balanced);
            let of_kind: Vec<_> = of_kind.map(|((_, labels), s)| (&**labels, *s)).collect();
            if !of_kind.is_empty() {
                render(out, prefix, &of_kind);
            }
            let queues = family.snapshot(retain_idle);
            if !queues.is_empty() {
                render_queues(out, prefix, &queues);
            }
        }
    }
}

impl Sources {
    fn sweep(&mut self) {
        self.all.retain(|_, sources| {
            sources.retain(|source| source.strong_count() > 0);
            !sources.is_empty()
        });
    }

    fn snapshots(&mut self) -> Vec<(Key, Snapshot)> {
        self.sweep();
        let sum = |sources: &Vec<Weak<dyn Source>>| {
            let live = sources.iter().filter_map(Weak::upgrade);
            live.map(|source| source.snapshot())
                .fold(Snapshot::default(), Snapshot::and)
        };
        let all = self.all.iter();
        all.map(|(key, sources)| (key.clone(), sum(sources)))
            .collect()
    }
}

impl QueueMetrics {
    /// Counts a request that got its endpoint after having waited.
    pub(crate) fn served(&self, now: Instant, waited: Duration) {
        self.0.touch_at(now);
        self.0.observe_time(&LATENCY, waited);
    }
}

impl Snapshot {
    /// Both, as labels that do not tell them apart show them.
    fn and(self, other: Self) -> Self {
        Self {
            ready: self.ready + other.ready,
            pending: self.pending + other.pending,
            updates: std::array::from_fn(|i| self.updates[i] + other.updates[i]),
            waiting: self.waiting + other.waiting,
            gate: std::array::from_fn(|i| self.gate[i] + other.gate[i]),
            gate_since: std::array::from_fn(|i| self.gate_since[i].max(other.gate_since[i])),
            gate_timeout: self.gate_timeout.max(other.gate_timeout),
        }
    }
}

fn render(out: &mut String, prefix: &str, all: &[(&str, Snapshot)]) {
    let none = Labels::default();
    let endpoints = all
        .iter()
        .map(|(labels, s)| (*labels, [s.ready, s.pending]));
    render_endpoints(out, prefix, endpoints);
    let name = format!("{prefix}_p2c_updates_total");
    let help = "The number of updates a balancer received from service discovery";
    header(out, &name, "counter", help);
    for (labels, s) in all {
        for (op, value) in ["Add", "Remove", "Reset"].into_iter().zip(s.updates) {
            sample(out, &name, labels, &Labels::default().with("op", op), value);
        }
    }
    type Value = fn(&Snapshot) -> f64;
    let each: [(&str, &str, &str, Value); 7] = [
        (
            "p2c_endpoints",
            "gauge",
            "The number of endpoints currently in the balancer",
            |s| (s.ready + s.pending) as f64,
        ),
        (
            "queue_length",
            "gauge",
            "The number of requests currently waiting for an endpoint",
            |s| s.waiting as f64,
        ),
        (
            "queue_gate_open_total",
            "counter",
            "The total number of gate state changes to open",
            |s| s.gate[0] as f64,
        ),
        (
            "queue_gate_shut_total",
            "counter",
            "The total number of gate state changes from open to shut",
            |s| s.gate[1] as f64,
        ),
        (
            "queue_gate_open_time_seconds",
            "gauge",
            "The time at which the gate was opened",
            |s| s.gate_since[0],
        ),
        (
            "queue_gate_shut_time_seconds",
            "gauge",
            "The time at which the gate was shut",
            |s| s.gate_since[1],
        ),
        (
            "queue_gate_timeout_seconds",
            "gauge",
            "How long requests wait before the gate shuts and they fail at once",
            |s| s.gate_timeout,
        ),
    ];
    for (what, kind, help, value) in each {
        let name = format!("{prefix}_{what}");
        header(out, &name, kind, help);
        for (labels, s) in all {
            sample(out, &name, labels, &none, value(s));
        }
    }
}

/// Writes how many endpoints are ready and how many are not.
pub(super) fn render_endpoints<'l>(
    out: &mut String,
    prefix: &str,
    all: impl Iterator<Item = (&'l str, [u64; 2])>,
) {
    let name = format!("{prefix}_endpoints");
    let help = "The number of endpoints currently in a balancer, by state";
    header(out, &name, "gauge", help);
    for (labels, counts) in all {
        for (state, value) in ["ready", "pending"].into_iter().zip(counts) {
            let state = Labels::default().with("endpoint_state", state);
            sample(out, &name, labels, &state, value);
        }
    }
}

fn render_queues(out: &mut String, prefix: &str, all: &Labelled<Latencies>) {
    let name = format!("{prefix}_queue_requests_total");
    let help = "The number of requests that got an endpoint";
    family::render_each(out, &name, "counter", help, all, Histogram::count);
    let name = format!("{prefix}_queue_latency_seconds");
    let help = "How long requests waited for an endpoint";
    histogram::render_each(out, &name, help, all, &LATENCY, |latencies| latencies);
}
