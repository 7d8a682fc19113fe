//! Waiting longer after each failure.
//!
//! Held by loops that call something remote. The random share keeps many processes that lost the
//! same peer from coming back in the same instant.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hasher},
    time::Duration,
};

/// Exponential backoff with jitter.
#[derive(Clone, Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    jitter: f64,
    failures: u32,
}

impl Backoff {
    /// Waits `min`, doubling up to `max`, each lengthened by a random share of at most `jitter`
    /// (0.1 is a tenth).
    pub fn new(min: Duration, max: Duration, jitter: f64) -> Self {
        Self {
            min,
            max: max.max(min),
            jitter: jitter.clamp(0.0, 1.0),
            failures: 0,
        }
    }

    /// The next wait; each call counts as one more failure.
    pub fn next_delay(&mut self) -> Duration {
        let factor = 1u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        self.failures = self.failures.saturating_add(1).min(31);
        let base = self.min.saturating_mul(factor).min(self.max);
        base.saturating_add(base.mul_f64(self.jitter * random_share()))
    }

    /// Starts over after a success.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Sleeps for the next wait.
    pub async fn wait(&mut self) {
        tokio::time::sleep(self.next_delay()).await;
    }
}

/// In `0.0..1.0`. Spreading retries needs no better randomness than that of hash seeds.
pub(crate) fn random_share() -> f64 {
    let bits = RandomState::new().build_hasher().finish() >> 11;
    bits as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_start_over() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1), 0.0);
        let waits: Vec<_> = (0..6).map(|_| backoff.next_delay().as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1000, 1000]);
        for _ in 0..100 {
            assert_eq!(backoff.next_delay(), Duration::from_secs(1));
        }
        backoff.reset();
        assert_eq!(backoff.next_delay(), Duration::from_millis(100));
    }

    #[test]
    fn jitter_only_lengthens_and_by_its_share() {
        for _ in 0..1000 {
            let wait =
                Backoff::new(Duration::from_secs(1), Duration::from_secs(9), 0.1).next_delay();
            assert!(wait >= Duration::from_secs(1) && wait <= Duration::from_millis(1100));
        }
    }
}
