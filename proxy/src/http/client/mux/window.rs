//! How large windows have to be for what a path can carry: as much as arrives in a round trip, twice,
//! for as long as that makes it faster.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

/// What both windows are before anything was measured: what HTTP/2 begins with.
const FIRST: u32 = 65_535;
const MOST: u32 = 16 << 20;
/// How far measurements lie apart at least, and at most once they say nothing new.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

#[derive(Debug, Default)]
pub(super) struct Window {
    /// Bytes since the last measurement.
    received: AtomicUsize,
    estimate: Mutex<Estimate>,
}

#[derive(Debug)]
struct Estimate {
    size: u32,
    /// Bytes a second, at most so far.
    fastest: f64,
    pause: Duration,
    /// No measurement before.
    not_before: Instant,
}

impl Default for Estimate {
    fn default() -> Self {
        Self {
            size: FIRST,
            fastest: 0.0,
            pause: PAUSES.0,
            not_before: Instant::now(),
        }
    }
}

impl Window {
    pub(super) fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Whether a ping is worth its while.
    pub(super) fn is_asking(&self) -> bool {
        self.received.load(Ordering::Relaxed) > 0
            && self.estimate.lock().not_before <= Instant::now()
    }

    /// A ping is sent: what is received from now on counts.
    pub(super) fn asked(&self) {
        self.received.store(0, Ordering::Relaxed);
    }

    /// A ping was answered. Returns what the windows should be, if that is new.
    pub(super) fn answered(&self, took: Duration) -> Option<u32> {
        let bytes = self.received.swap(0, Ordering::Relaxed);
        let mut estimate = self.estimate.lock();
        let size = estimate.measured(bytes, took);
        estimate.not_before = Instant::now() + estimate.pause;
        size
    }
}

impl Estimate {
    /// Pure: so many bytes came in one round trip.
    fn measured(&mut self, bytes: usize, took: Duration) -> Option<u32> {
        let rate = bytes as f64 / took.as_secs_f64().max(1e-6);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        // A window that was not nearly full is not what holds the server back.
        let full = bytes >= self.size / 3 * 2;
        if !full || rate <= self.fastest || self.size == MOST {
            self.pause = (self.pause * 2).min(PAUSES.1);
            return None;
        }
        self.fastest = rate;
        self.pause = PAUSES.0;
        self.size = bytes.saturating_mul(2).clamp(self.size, MOST);
        Some(self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIP: Duration = Duration::from_millis(50);

    #[test]
    fn a_window_grows_while_it_is_what_holds_the_server_back() {
        let mut estimate = Estimate::default();
        assert_eq!(estimate.measured(1_000, TRIP), None);
        assert_eq!(estimate.measured(65_000, TRIP), Some(130_000));
        assert_eq!(estimate.measured(130_000, TRIP), Some(260_000));
        // Not faster for being larger: the path is full.
        assert_eq!(estimate.measured(200_000, TRIP * 2), None);
        assert_eq!(estimate.size, 260_000);
    }

    #[test]
    fn a_window_has_a_bound_and_is_asked_about_less_and_less() {
        let mut estimate = Estimate::default();
        assert_eq!(estimate.measured(usize::MAX, TRIP), Some(MOST));
        for _ in 0..20 {
            assert_eq!(estimate.measured(usize::MAX, TRIP / 2), None);
        }
        assert_eq!(estimate.pause, PAUSES.1);
    }
}
