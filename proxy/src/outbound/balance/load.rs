//! How busy an endpoint is: a latency average that jumps to peaks at once and forgets them
//! slowly, times the requests it has not answered yet.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::Response;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{
    http::{Body, client::Stream, observe::hold},
    outbound::policy::Penalty,
};

/// A peak-sensitive moving average of latencies.
#[derive(Debug)]
pub struct PeakEwma {
    nanos: f64,
    decay: f64,
    at: Instant,
}

impl PeakEwma {
    /// Starts at `default_rtt`, as if that had just been measured.
    pub fn new(default_rtt: Duration, decay: Duration, now: Instant) -> Self {
        Self {
            nanos: default_rtt.as_nanos() as f64,
            decay: decay.as_nanos().max(1) as f64,
            at: now,
        }
    }

    /// Takes in a measurement.
    pub fn record(&mut self, now: Instant, rtt: Duration) {
        let rtt = rtt.as_nanos() as f64;
        let old = self.nanos;
        let weight = self.weight(now);
        self.at = self.at.max(now);
        self.nanos = match rtt > old {
            true => rtt,
            false => old * weight + rtt * (1.0 - weight),
        };
    }

    /// The average at `now`. It fades while nothing is measured, so that an endpoint that was
    /// slow once gets another chance.
    pub fn nanos(&self, now: Instant) -> f64 {
        (self.nanos * self.weight(now)).max(1.0)
    }

    fn weight(&self, now: Instant) -> f64 {
        let elapsed = now.saturating_duration_since(self.at).as_nanos() as f64;
        (-elapsed / self.decay).exp()
    }
}

/// The load of one endpoint.
#[derive(Debug)]
pub struct Load {
    rtt: Mutex<PeakEwma>,
    penalty: Option<Penalty>,
    pending: AtomicUsize,
}

/// A request that is not answered yet.
#[derive(Debug)]
pub struct Pending {
    load: Arc<Load>,
    /// Its place on a connection that others use as well.
    stream: Option<Stream>,
}

/// How long a request has waited for its answer. Dropped before that came, because nobody waits any
/// more, it was at least that long: an endpoint that never answers must not look idle.
#[derive(Debug)]
pub struct Waiting<'l> {
    load: Option<&'l Load>,
    started: Instant,
}

impl Load {
    /// An endpoint nothing was measured of.
    pub fn new(
        default_rtt: Duration,
        decay: Duration,
        penalty: Option<Penalty>,
        now: Instant,
    ) -> Self {
        Self {
            rtt: Mutex::new(PeakEwma::new(default_rtt, decay, now)),
            penalty,
            pending: AtomicUsize::new(0),
        }
    }

    /// What one more request would cost.
    pub fn cost(&self, now: Instant) -> f64 {
        let pending = self.pending.load(Ordering::Relaxed);
        self.rtt.lock().nanos(now) * (pending as f64 + 1.0)
    }

    /// Counts a request until the guard is dropped.
    pub fn begin(load: &Arc<Self>) -> Pending {
        load.pending.fetch_add(1, Ordering::Relaxed);
        Pending {
            load: load.clone(),
            stream: None,
        }
    }

    /// Begins to wait for an answer.
    pub fn wait(&self, now: Instant) -> Waiting<'_> {
        Waiting {
            load: Some(self),
            started: now,
        }
    }

    /// Takes in how long an answer took.
    pub fn record(&self, now: Instant, rtt: Duration) {
        self.rtt.lock().record(now, rtt);
    }

    /// Takes in that an answer was a failure, and for how long the server asked to be left alone.
    /// Where the policy counts failures as latencies, it is one; else it is an answer like any.
    pub fn record_failure(&self, now: Instant, rtt: Duration, hint: Option<Duration>) {
        match self.penalty {
            None => self.record(now, rtt),
            Some(penalty) => {
                let hint = hint.unwrap_or_default().min(penalty.most);
                self.record_peak(now, rtt.max(penalty.least).max(hint));
            }
        }
    }

    /// Takes in how long a request took that failed: failing fast must not look attractive, so it
    /// only ever makes the endpoint look slower.
    pub fn record_peak(&self, now: Instant, rtt: Duration) {
        let mut average = self.rtt.lock();
        if rtt.as_nanos() as f64 > average.nanos(now) {
            average.record(now, rtt);
        }
    }
}

impl Waiting<'_> {
    /// It has come, or failed; returns how long that took.
    pub fn over(mut self, now: Instant) -> Duration {
        self.load = None;
        now.saturating_duration_since(self.started)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(load) = self.load {
            load.record_peak(Instant::now(), self.started.elapsed());
        }
    }
}

impl Pending {
    /// Keeps the request's place on its connection for as long.
    pub fn on(mut self, stream: Option<Stream>) -> Self {
        self.stream = stream;
        self
    }

    /// Keeps counting until the response's body has ended or was dropped.
    pub fn until_end_of(self, response: Response<Body>) -> Response<Body> {
        response.map(|body| hold(body, self))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.load.pending.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const DECAY: Duration = Duration::from_secs(10);

    #[test]
    fn a_peak_counts_at_once_and_fades_slowly() {
        let start = Instant::now();
        let mut rtt = PeakEwma::new(30 * MS, DECAY, start);
        rtt.record(start, 500 * MS);
        assert_eq!(rtt.nanos(start), 5e8);
        rtt.record(start + 10 * MS, MS);
        assert!(rtt.nanos(start + 10 * MS) > 4.9e8);
        assert!(rtt.nanos(start + DECAY) < 2e8);
    }

    #[test]
    fn pending_requests_multiply_the_cost() {
        let now = Instant::now();
        let load = Arc::new(Load::new(30 * MS, DECAY, None, now));
        let alone = load.cost(now);
        let pending = Load::begin(&load);
        assert_eq!(load.cost(now), alone * 2.0);
        drop(pending);
        assert_eq!(load.cost(now), alone);
    }

    #[test]
    fn a_failure_is_as_bad_as_the_policy_says() {
        let now = Instant::now();
        let penalty = Penalty {
            least: 5000 * MS,
            most: 9000 * MS,
        };
        let cost = |penalty, hint| {
            let load = Load::new(30 * MS, DECAY, penalty, now);
            load.record_failure(now, MS, hint);
            load.cost(now) / 1e6
        };
        assert_eq!(cost(Some(penalty), None), 5000.0);
        assert_eq!(cost(Some(penalty), Some(7000 * MS)), 7000.0);
        assert_eq!(cost(Some(penalty), Some(3_600_000 * MS)), 9000.0);
        assert_eq!(cost(None, Some(7000 * MS)), 30.0);
    }

    #[test]
    fn failing_fast_never_makes_an_endpoint_attractive() {
        let now = Instant::now();
        let load = Load::new(30 * MS, DECAY, None, now);
        let before = load.cost(now);
        load.record_peak(now + MS, Duration::from_micros(1));
        assert!(load.cost(now) >= before);
    }
}
