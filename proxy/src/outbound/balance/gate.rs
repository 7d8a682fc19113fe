//! Since when requests are served, or fail at once, as metrics tell it.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;
use tokio::time::Instant;

/// Shut once no endpoint was ready for as long as a request waits.
pub(super) struct Gate {
    /// How long a request waits.
    pub(super) timeout: Duration,
    /// Since when no endpoint was ready, as far as requests have seen.
    unready: Mutex<Option<Instant>>,
    /// How often it was shut, and opened again.
    shut: AtomicU64,
    /// When it was last opened.
    open_since: Mutex<SystemTime>,
}

/// How a gate is.
pub(super) struct State {
    /// How often it was opened, and shut.
    pub(super) changes: [u64; 2],
    /// Since when it is open, and shut, in seconds since the epoch; 0: it is not.
    pub(super) since: [f64; 2],
}

impl Gate {
    /// Open.
    pub(super) fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            unready: Mutex::default(),
            shut: AtomicU64::new(0),
            open_since: Mutex::new(SystemTime::now()),
        }
    }

    /// Since when no endpoint was ready.
    pub(super) fn unready_since(&self) -> Option<Instant> {
        *self.unready.lock()
    }

    /// Notes that an endpoint is ready.
    pub(super) fn ready(&self, now: Instant) {
        let Some(since) = self.unready.lock().take() else {
            return;
        };
        if since + self.timeout <= now {
            self.shut.fetch_add(1, Ordering::Relaxed);
            *self.open_since.lock() = SystemTime::now();
        }
    }

    /// Notes that none is.
    pub(super) fn unready(&self, now: Instant) {
        self.unready.lock().get_or_insert(now);
    }

    pub(super) fn state(&self, now: Instant) -> State {
        let shut = self.shut.load(Ordering::Relaxed);
        // Before that, and each time again.
        let opened = 1 + shut;
        let shut_for = self.unready_since().and_then(|since| {
            now.saturating_duration_since(since)
                .checked_sub(self.timeout)
        });
        match shut_for {
            None => State {
                changes: [opened, shut],
                since: [seconds(*self.open_since.lock()), 0.0],
            },
            Some(shut_for) => State {
                changes: [opened, shut + 1],
                since: [0.0, seconds(SystemTime::now() - shut_for)],
            },
        }
    }
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_shut_once_nobody_was_ready_for_as_long_as_requests_wait() {
        let second = Duration::from_secs(1);
        let gate = Gate::new(second);
        let start = Instant::now();
        let is_open = |at| gate.state(at).since[0] > 0.0;
        gate.unready(start);
        gate.unready(start + second / 2);
        assert!(is_open(start + second / 2));
        assert!(!is_open(start + second));
        assert_eq!(gate.state(start + second).changes, [1, 1]);
        gate.ready(start + 2 * second);
        assert!(is_open(start + 2 * second));
        assert_eq!(gate.state(start + 2 * second).changes, [2, 1]);
        // A moment's absence shuts nothing.
        gate.unready(start + 3 * second);
        gate.ready(start + 3 * second + second / 2);
        assert_eq!(gate.state(start + 9 * second).changes, [2, 1]);
    }
}
