//! The share of successes over a sliding window. Pure: time is given.

use std::time::Duration;

use tokio::time::Instant;

use crate::outbound::policy::SuccessRate;

/// Into how many parts the window is cut; the oldest is forgotten at a time.
const PARTS: usize = 10;

/// What an endpoint answered lately.
#[derive(Debug)]
pub(super) struct Window {
    rule: SuccessRate,
    /// Successes and all answers, the newest part last.
    parts: [(u32, u32); PARTS],
    /// When the newest part began.
    since: Option<Instant>,
}

impl Window {
    /// Nothing yet.
    pub(super) fn new(rule: SuccessRate) -> Self {
        Self {
            rule,
            parts: [(0, 0); PARTS],
            since: None,
        }
    }

    /// Takes in an answer; `false` if too few of those in the window were successes.
    pub(super) fn note(&mut self, now: Instant, success: bool) -> bool {
        self.advance(now);
        let newest = &mut self.parts[PARTS - 1];
        newest.0 = newest.0.saturating_add(u32::from(success));
        newest.1 = newest.1.saturating_add(1);
        let (mut successes, mut all) = (0_u64, 0_u64);
        for (part_successes, part_all) in self.parts {
            successes += u64::from(part_successes);
            all += u64::from(part_all);
        }
        let too_few = all < u64::from(self.rule.min_requests);
        too_few || successes * 1_000_000 >= all * u64::from(self.rule.least_ppm)
    }

    fn advance(&mut self, now: Instant) {
        let part = (self.rule.window / PARTS as u32).max(Duration::from_millis(1));
        let since = *self.since.get_or_insert(now);
        let passed = now.saturating_duration_since(since).as_nanos() / part.as_nanos();
        let passed = u32::try_from(passed).unwrap_or(u32::MAX);
        let gone = (passed as usize).min(PARTS);
        self.parts.rotate_left(gone % PARTS);
        self.parts[PARTS - gone..].fill((0, 0));
        self.since = since.checked_add(part.saturating_mul(passed)).or(Some(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_the_window_does_not_count() {
        let rule = SuccessRate {
            least_ppm: 500_000,
            window: Duration::from_secs(10),
            min_requests: 2,
        };
        let start = Instant::now();
        let mut window = Window::new(rule);
        assert!(window.note(start, false), "one says nothing");
        assert!(!window.note(start, false));
        assert!(!window.note(start + Duration::from_secs(5), true), "1 of 3");
        assert!(window.note(start + Duration::from_secs(12), true), "2 of 2");
        assert!(window.note(start + Duration::from_secs(3600), false));
    }
}
