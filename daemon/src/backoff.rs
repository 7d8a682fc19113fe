//! Waiting longer after each failure.

use std::time::Duration;

/// Exponential backoff with jitter.
#[derive(Clone, Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    jitter: f64,
    failures: u32,
}

impl Backoff {
    /// Waits `min`, doubling up to `max`, each lengthened by a random share of at most `jitter`.
    pub fn new(min: Duration, max: Duration, jitter: f64) -> Self {
        Self {
            min,
            max,
            jitter,
            failures: 0,
        }
    }
    /// The next wait.
    pub fn next_delay(&mut self) -> Duration {
        todo!()
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
