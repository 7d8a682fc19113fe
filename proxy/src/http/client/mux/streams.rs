//! How many streams of a connection are open, and who waits for one more.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use tokio::sync::{Notify, futures::Notified};

use super::Shared;

#[derive(Debug)]
pub(super) struct Streams {
    open: AtomicUsize,
    /// How many the server takes at once.
    most: AtomicUsize,
    /// How many may be opened yet.
    left: AtomicU64,
    freed: Notify,
}

/// A stream that counts as open until this is dropped.
#[derive(Debug)]
pub(super) struct Opened(Arc<Shared>);

impl Streams {
    /// `most` at once, and `limit` altogether.
    pub(super) fn new(most: usize, limit: Option<u64>) -> Self {
        Self {
            open: AtomicUsize::new(0),
            most: AtomicUsize::new(most),
            left: AtomicU64::new(limit.unwrap_or(u64::MAX)),
            freed: Notify::new(),
        }
    }

    /// The server takes so many.
    pub(super) fn bound(&self, most: usize) {
        if self.most.swap(most, Ordering::Relaxed) < most {
            self.tell();
        }
    }

    /// Whether as many were opened as may be.
    pub(super) fn is_spent(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }

    fn spend(&self) -> bool {
        let less = |left: u64| left.checked_sub(1);
        self.left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .is_ok()
    }

    pub(super) fn is_any(&self) -> bool {
        self.open.load(Ordering::Relaxed) > 0
    }

    /// Completes once one more may be open, or with the next [`Streams::tell`].
    pub(super) fn freed(&self) -> Notified<'_> {
        self.freed.notified()
    }

    /// Has all look again who wait.
    pub(super) fn tell(&self) {
        self.freed.notify_waiters();
    }
}

impl Opened {
    /// One more, unless as many are open as may be, or were.
    pub(super) fn new(shared: &Arc<Shared>) -> Option<Self> {
        let streams = &shared.streams;
        let most = streams.most.load(Ordering::Relaxed);
        let more = |open| (open < most).then_some(open + 1);
        streams
            .open
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok()
            .then(|| Self(shared.clone()))
            .filter(|_| streams.spend())
    }

    /// So many bytes of a body were received.
    pub(super) fn received(&self, bytes: usize) {
        if let Some(window) = &self.0.window {
            window.received(bytes);
        }
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.streams.open.fetch_sub(1, Ordering::Relaxed);
        self.0.streams.freed.notify_one();
    }
}
