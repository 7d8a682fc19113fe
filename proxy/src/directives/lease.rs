//! How long what is known holds. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// A time from when the control plane was last heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lease(Option<(Duration, Instant)>);

impl Lease {
    /// What is known holds until something else is heard.
    pub(super) const NONE: Self = Self(None);

    /// Of this length, which may be none, beginning now.
    pub(super) fn new(length: Duration, now: Instant) -> Self {
        let end = now.checked_add(length).filter(|_| !length.is_zero());
        Self(end.map(|end| (length, end)))
    }

    /// How long it is.
    pub(super) fn length(self) -> Option<Duration> {
        self.0.map(|(length, _)| length)
    }

    /// When it ends.
    pub(super) fn end(self) -> Option<Instant> {
        self.0.map(|(_, end)| end)
    }

    /// Whether it has ended.
    pub(super) fn has_lapsed(self, now: Instant) -> bool {
        self.end().is_some_and(|end| now >= end)
    }
}
