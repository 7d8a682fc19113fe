//! Who waits for the connection, and for how long yet.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::Error;

/// Attempts this long ago say nothing of the next one.
const FORGOTTEN: Duration = Duration::from_secs(10);

/// How long requests wait while attempts to connect fail.
pub(super) struct Patience {
    limit: Duration,
    /// Those who wait for the next attempt, and those who wait for one that succeeds.
    waiting: [AtomicUsize; 2],
    failing: Mutex<Option<Failing>>,
}

/// Attempts that failed, one after the other.
struct Failing {
    since: Instant,
    last: Instant,
    error: Arc<Error>,
}

/// Somebody who waits, until dropped.
pub(super) struct Waiting<'p> {
    count: &'p AtomicUsize,
    /// For how long attempts that fail are waited for yet. `None`: the next one is the last.
    pub(super) left: Option<Duration>,
}

impl Patience {
    pub(super) fn new(limit: Duration) -> Self {
        Self {
            limit,
            waiting: Default::default(),
            failing: Mutex::new(None),
        }
    }

    /// Begins to wait.
    pub(super) fn wait(&self) -> Waiting<'_> {
        let left = self.left();
        let count = &self.waiting[usize::from(left.is_some())];
        count.fetch_add(1, Ordering::SeqCst);
        Waiting { count, left }
    }

    /// Whether anybody waits for the next attempt.
    pub(super) fn is_asked(&self) -> bool {
        self.waiting.iter().any(|n| n.load(Ordering::SeqCst) > 0)
    }

    /// Whether anybody waits for one more attempt after one that failed.
    pub(super) fn is_asked_again(&self) -> bool {
        self.waiting[1].load(Ordering::SeqCst) > 0
    }

    fn left(&self) -> Option<Duration> {
        let mut failing = self.failing.lock();
        failing.take_if(|f| f.last.elapsed() > FORGOTTEN);
        let spent = failing
            .as_ref()
            .map_or(Duration::ZERO, |f| f.since.elapsed());
        self.limit.checked_sub(spent).filter(|left| !left.is_zero())
    }

    /// An attempt failed.
    pub(super) fn failed(&self, error: Arc<Error>) {
        let now = Instant::now();
        let mut failing = self.failing.lock();
        let since = failing.as_ref().map_or(now, |f| f.since);
        *failing = Some(Failing {
            since,
            last: now,
            error,
        });
    }

    /// There is a connection.
    pub(super) fn succeeded(&self) {
        *self.failing.lock() = None;
    }

    /// Why a request fails that has waited as long as it may.
    pub(super) fn fail_fast(&self) -> Error {
        let failing = self.failing.lock();
        let why = failing.as_ref().map(|f| f.error.to_string());
        let why = why.unwrap_or_else(|| "connecting takes too long".to_owned());
        Error::FailFast(format!("{why}:"))
    }

    /// Whether requests wait for more than one attempt.
    pub(super) fn is_any(&self) -> bool {
        !self.limit.is_zero()
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::SeqCst);
    }
}
