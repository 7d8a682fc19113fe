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
mod tests;
