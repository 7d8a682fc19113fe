//! Taking a failing endpoint out of rotation, and letting one request at a time find out whether
//! it works again. Pure: time and chance are given.

use std::time::Duration;

use tokio::time::Instant;

use super::ramp;

/// An endpoint's health.
#[derive(Debug)]
pub struct Health {
    max_failures: u32,
    failures: u32,
    ejections: u32,
    state: State,
    /// When it came (back) into a rotation that others share.
    back_since: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    In,
    /// Out until then; afterwards one request may try.
    Out {
        until: Instant,
        probing: bool,
    },
}

/// Whether requests may go to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usable {
    /// They may.
    Yes,
    /// One may, to find out.
    Probe,
    /// They may not.
    No,
}

/// First and longest time out for endpoints that answer, but badly.
const EJECT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));
/// First and longest time out for endpoints that cannot be reached: trying costs little.
const UNREACHABLE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// How long a probe may take before the next one is allowed.
const PROBE: Duration = Duration::from_secs(1);

impl Health {
    /// Healthy. `max_failures` in a row take it out; `joins` if it joins a rotation that already
    /// serves, and should be given its share gradually.
    pub fn new(max_failures: u32, joins: Option<Instant>) -> Self {
        Self {
            max_failures: max_failures.max(1),
            failures: 0,
            ejections: 0,
            state: State::In,
            back_since: joins,
        }
    }

    /// Whether it may be used at `now`.
    pub fn usable(&self, now: Instant) -> Usable {
        match self.state {
            State::In => Usable::Yes,
            State::Out { until, .. } if until <= now => Usable::Probe,
            State::Out { .. } => Usable::No,
        }
    }

    /// Takes the right to probe, keeping others away until it must have ended.
    pub fn begin_probe(&mut self, now: Instant) -> bool {
        let may = self.usable(now) == Usable::Probe;
        if may {
            self.state = State::Out {
                until: now + PROBE,
                probing: true,
            };
        }
        may
    }

    /// It worked.
    pub fn succeeded(&mut self, now: Instant) {
        self.failures = 0;
        self.ejections = 0;
        if matches!(self.state, State::Out { .. }) {
            self.state = State::In;
            self.back_since = Some(now);
        }
    }

    /// It answered badly, or went away while answering. `chance` is between 0 and 1.
    pub fn failed(&mut self, now: Instant, chance: f64) {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= self.max_failures || matches!(self.state, State::Out { .. }) {
            self.eject(now, EJECT, chance);
        }
    }

    /// It could not be reached: out at once.
    pub fn unreachable(&mut self, now: Instant, chance: f64) {
        self.eject(now, UNREACHABLE, chance);
    }

    fn eject(&mut self, now: Instant, (min, max): (Duration, Duration), chance: f64) {
        // Many requests may fail together; that is one fault, not many.
        if let State::Out {
            until,
            probing: false,
        } = self.state
            && until > now
        {
            return;
        }
        let pause = min.saturating_mul(1 << self.ejections.min(16)).min(max);
        self.ejections = self.ejections.saturating_add(1);
        self.state = State::Out {
            until: now + pause.mul_f64(1.0 + chance.clamp(0.0, 1.0) / 4.0),
            probing: false,
        };
    }

    /// The share of its traffic it should get at `now`.
    pub fn share(&self, now: Instant) -> f64 {
        match self.back_since {
            Some(since) => ramp::share_after(now.saturating_duration_since(since)),
            None => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn failures_in_a_row_take_it_out_and_one_probe_brings_it_back() {
        let start = Instant::now();
        let mut health = Health::new(3, None);
        health.failed(start, 0.0);
        health.failed(start, 0.0);
        assert_eq!(health.usable(start), Usable::Yes);
        health.failed(start, 0.0);
        assert_eq!(health.usable(start), Usable::No);

        let later = start + S;
        assert_eq!(health.usable(later), Usable::Probe);
        assert!(health.begin_probe(later));
        assert!(!health.begin_probe(later), "one probe at a time");
        health.succeeded(later);
        assert_eq!(health.usable(later), Usable::Yes);
        assert!(health.share(later) < 0.2, "it comes back gradually");
        assert_eq!(health.share(later + 2 * S), 1.0);
    }

    #[test]
    fn a_failed_probe_doubles_the_time_out() {
        let start = Instant::now();
        let mut health = Health::new(1, None);
        health.failed(start, 0.0);
        assert!(health.begin_probe(start + S));
        health.failed(start + S, 0.0);
        assert_eq!(health.usable(start + 2 * S), Usable::No);
        assert_eq!(health.usable(start + 3 * S), Usable::Probe);
    }

    #[test]
    fn requests_that_fail_together_are_one_fault() {
        let start = Instant::now();
        let mut health = Health::new(1, None);
        for _ in 0..100 {
            health.failed(start, 0.0);
        }
        assert_eq!(health.usable(start + S), Usable::Probe);
    }

    #[test]
    fn a_success_between_failures_starts_the_count_over() {
        let now = Instant::now();
        let mut health = Health::new(2, None);
        for _ in 0..10 {
            health.failed(now, 0.0);
            health.succeeded(now);
        }
        assert_eq!(health.usable(now), Usable::Yes);
    }

    #[test]
    fn an_unreachable_endpoint_is_out_at_once_but_briefly() {
        let start = Instant::now();
        let mut health = Health::new(5, None);
        health.unreachable(start, 0.0);
        assert_eq!(health.usable(start), Usable::No);
        assert_eq!(
            health.usable(start + Duration::from_millis(100)),
            Usable::Probe
        );
    }
}
