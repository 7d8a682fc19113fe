//! How often a daemon may die before it is not started again.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Deaths in a row.
const MOST: u32 = 5;
/// One that lived so long did not die of its start.
const LONG_LIFE: Duration = Duration::from_secs(10);

/// What is known of each daemon's deaths.
#[derive(Debug, Default)]
pub(super) struct Deaths(BTreeMap<String, (u32, Instant)>);

impl Deaths {
    /// Notes one; how many there were in a row, if that was one too many.
    pub(super) fn note(&mut self, name: &str, now: Instant) -> Option<u32> {
        let (times, last) = self.0.entry(name.to_owned()).or_insert((0, now));
        if now.saturating_duration_since(*last) >= LONG_LIFE {
            *times = 0;
        }
        *times += 1;
        *last = now;
        (*times > MOST).then_some(*times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_that_cannot_start_is_given_up() {
        let now = Instant::now();
        let mut deaths = Deaths::default();
        for second in 0..5 {
            let at = now + Duration::from_secs(second);
            assert_eq!(deaths.note("west/apiserver", at), None);
        }
        let at = now + Duration::from_secs(5);
        assert_eq!(deaths.note("east/apiserver", at), None);
        assert_eq!(deaths.note("west/apiserver", at), Some(6));
    }

    #[test]
    fn a_daemon_that_is_killed_now_and_then_is_started_again_and_again() {
        let now = Instant::now();
        let mut deaths = Deaths::default();
        for minute in 0..100 {
            let at = now + Duration::from_secs(60 * minute);
            assert_eq!(deaths.note("west/apiserver", at), None);
        }
    }
}
