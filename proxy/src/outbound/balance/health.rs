//! Taking a failing endpoint out of rotation, and letting one request at a time find out whether
//! it works again. Pure: time and chance are given.

use std::time::Duration;

use tokio::time::Instant;

use super::{ramp, window::Window};
use crate::outbound::{
    endpoint::judge::Verdict,
    policy::{Accrual, Pauses},
};

/// An endpoint's health.
#[derive(Debug)]
pub struct Health {
    rules: Accrual,
    /// Whether what the application answers counts.
    judges_answers: bool,
    window: Option<Window>,
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
        why: Why,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Answers,
    Unreachable,
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

/// Without rules from the policy, this many failures in a row take an endpoint out. They are those
/// of proxies and connections: what an application answers is its own affair then.
const UNLESS_SAID: Accrual = Accrual {
    max_failures: Some(3),
    success_rate: None,
    pauses: Pauses {
        min: Duration::from_secs(1),
        max: Duration::from_secs(10),
        jitter_ppm: 250_000,
    },
    respect_retry_after: false,
    min_ready: 0,
};
/// Pauses of endpoints that cannot be reached: trying costs little.
const UNREACHABLE: Pauses = Pauses {
    min: Duration::from_millis(100),
    max: Duration::from_secs(2),
    jitter_ppm: 250_000,
};
/// How long a probe may take before the next one is allowed.
const PROBE: Duration = Duration::from_secs(1);
/// The longest an endpoint may ask not to be asked.
const LONGEST_HINT: Duration = Duration::from_secs(300);

impl Health {
    /// Healthy. `rules` are the policy's; `joins` if it joins a rotation that already serves, and
    /// should be given its share gradually.
    pub fn new(rules: Option<Accrual>, joins: Option<Instant>) -> Self {
        Self {
            judges_answers: rules.is_some(),
            back_since: joins,
            ..Self::with(rules.unwrap_or(UNLESS_SAID))
        }
    }

    /// Of the only endpoint there is: never taken out for what it answers.
    pub fn alone() -> Self {
        Self::with(Accrual {
            max_failures: None,
            ..UNLESS_SAID
        })
    }

    fn with(rules: Accrual) -> Self {
        Self {
            window: rules.success_rate.map(Window::new),
            judges_answers: false,
            rules,
            failures: 0,
            ejections: 0,
            state: State::In,
            back_since: None,
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
        let State::Out { until, why, .. } = self.state else {
            return false;
        };
        let may = until <= now;
        if may {
            self.state = State::Out {
                until: now + PROBE,
                probing: true,
                why,
            };
        }
        may
    }

    /// It worked.
    pub fn succeeded(&mut self, now: Instant) {
        self.failures = 0;
        if let Some(window) = &mut self.window {
            window.note(now, true);
        }
        // Out for its answers, only a probe's says that it is back: others were asked for before.
        if let State::Out {
            probing,
            until,
            why,
        } = self.state
            && (probing || until <= now || why == Why::Unreachable)
        {
            self.ejections = 0;
            self.state = State::In;
            self.back_since = Some(now);
            self.window = self.rules.success_rate.map(Window::new);
        }
    }

    /// It answered badly, or went away while answering. `chance` is between 0 and 1; `hint` is how
    /// long it asked to be left alone.
    pub fn failed(&mut self, now: Instant, chance: f64, hint: Option<Duration>) {
        self.failures = self.failures.saturating_add(1);
        let in_a_row = self
            .rules
            .max_failures
            .is_some_and(|max| self.failures >= max);
        let too_many = self
            .window
            .as_mut()
            .is_some_and(|window| !window.note(now, false));
        if in_a_row || too_many || matches!(self.state, State::Out { .. }) {
            let hint = hint.filter(|_| self.rules.respect_retry_after);
            self.eject(now, Why::Answers, chance, hint);
        }
    }

    /// It could not be reached: out at once.
    pub fn unreachable(&mut self, now: Instant, chance: f64) {
        self.eject(now, Why::Unreachable, chance, None);
    }

    fn eject(&mut self, now: Instant, why: Why, chance: f64, hint: Option<Duration>) {
        // Many requests may fail together; that is one fault, not many.
        if let State::Out {
            until,
            probing: false,
            ..
        } = self.state
            && until > now
        {
            return;
        }
        let pauses = match why {
            Why::Answers => self.rules.pauses,
            Why::Unreachable => UNREACHABLE,
        };
        let pause = pauses.after(self.ejections, chance);
        let pause = pause.max(hint.unwrap_or_default().min(LONGEST_HINT));
        self.ejections = self.ejections.saturating_add(1);
        self.state = State::Out {
            until: now + pause,
            probing: false,
            why,
        };
    }

    /// Whether what the application answers counts.
    pub fn judges_answers(&self) -> bool {
        self.judges_answers
    }

    /// Takes in what an answer says.
    pub fn judge(&mut self, now: Instant, verdict: Verdict) {
        match verdict {
            Verdict::Success => self.succeeded(now),
            Verdict::Failure(hint) => self.failed(now, rand::random(), hint),
            Verdict::Later => {}
        }
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
    use crate::outbound::policy::SuccessRate;

    const S: Duration = Duration::from_secs(1);

    fn after(failures: u32) -> Health {
        let rules = Accrual {
            max_failures: Some(failures),
            ..UNLESS_SAID
        };
        Health::new(Some(rules), None)
    }

    #[test]
    fn failures_in_a_row_take_it_out_and_one_probe_brings_it_back() {
        let start = Instant::now();
        let mut health = after(3);
        health.failed(start, 0.0, None);
        health.failed(start, 0.0, None);
        assert_eq!(health.usable(start), Usable::Yes);
        health.failed(start, 0.0, None);
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
        let mut health = after(1);
        health.failed(start, 0.0, None);
        assert!(health.begin_probe(start + S));
        health.failed(start + S, 0.0, None);
        assert_eq!(health.usable(start + 2 * S), Usable::No);
        assert_eq!(health.usable(start + 3 * S), Usable::Probe);
    }

    #[test]
    fn requests_that_fail_together_are_one_fault() {
        let start = Instant::now();
        let mut health = after(1);
        for _ in 0..100 {
            health.failed(start, 0.0, None);
        }
        assert_eq!(health.usable(start + S), Usable::Probe);
    }

    #[test]
    fn an_answer_that_was_under_way_does_not_bring_it_back() {
        let start = Instant::now();
        let mut health = after(1);
        health.failed(start, 0.0, None);
        health.succeeded(start);
        assert_eq!(health.usable(start), Usable::No);
    }

    #[test]
    fn a_success_between_failures_starts_the_count_over() {
        let now = Instant::now();
        let mut health = after(2);
        for _ in 0..10 {
            health.failed(now, 0.0, None);
            health.succeeded(now);
        }
        assert_eq!(health.usable(now), Usable::Yes);
    }

    #[test]
    fn an_unreachable_endpoint_is_out_at_once_but_briefly() {
        let start = Instant::now();
        let mut health = after(5);
        health.unreachable(start, 0.0);
        assert_eq!(health.usable(start), Usable::No);
        // Unless somebody reaches it after all.
        health.succeeded(start);
        assert_eq!(health.usable(start), Usable::Yes);
        health.unreachable(start, 0.0);
        let later = start + Duration::from_millis(100);
        assert_eq!(health.usable(later), Usable::Probe);
    }

    #[test]
    fn too_few_successes_take_it_out_once_enough_were_asked() {
        let rules = Accrual {
            max_failures: None,
            success_rate: Some(SuccessRate {
                least_ppm: 800_000,
                window: 10 * S,
                min_requests: 5,
            }),
            ..UNLESS_SAID
        };
        let mut now = Instant::now();
        let mut health = Health::new(Some(rules), None);
        for good in [true, true, false] {
            match good {
                true => health.succeeded(now),
                false => health.failed(now, 0.0, None),
            }
        }
        assert_eq!(health.usable(now), Usable::Yes, "too few to say");
        health.succeeded(now);
        health.failed(now, 0.0, None);
        assert_eq!(health.usable(now), Usable::No, "3 of 5 succeeded");
        // What it was before does not count once it is back.
        now += S;
        assert!(health.begin_probe(now));
        health.succeeded(now);
        health.failed(now, 0.0, None);
        assert_eq!(health.usable(now), Usable::Yes);
    }

    #[test]
    fn an_endpoint_that_asks_to_be_left_alone_is_if_the_policy_says_so() {
        let start = Instant::now();
        let out_for = |respect_retry_after, hint| {
            let rules = Accrual {
                max_failures: Some(1),
                respect_retry_after,
                ..UNLESS_SAID
            };
            let mut health = Health::new(Some(rules), None);
            health.failed(start, 0.0, Some(hint));
            let seconds = |n: &u32| health.usable(start + *n * S) == Usable::Probe;
            (0..1000).find(seconds).unwrap()
        };
        assert_eq!(out_for(true, 20 * S), 20);
        assert_eq!(out_for(false, 20 * S), 1);
        assert_eq!(out_for(true, 3600 * S), 300, "within reason");
    }
}
