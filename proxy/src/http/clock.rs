//! How long the other end of a connection takes.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep};

/// One timer for a whole connection. What is waited for, `W`, differs from one wait to the next.
#[derive(Default)]
pub(super) struct Clock<W> {
    timer: Option<Pin<Box<Sleep>>>,
    /// What was waited for when it was set.
    since: W,
}

impl<W: Copy + PartialEq> Clock<W> {
    /// Ready when `wait` has taken longer than `limit`. A wait that is `prompt` has its time from
    /// now on; for others the timer is set again only when it has fired, so that what comes in time
    /// does not touch it.
    pub(super) fn poll_late(
        &mut self,
        cx: &mut Context<'_>,
        wait: W,
        limit: Duration,
        prompt: bool,
    ) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| {
            self.since = wait;
            Box::pin(tokio::time::sleep(limit))
        });
        if prompt && self.since != wait {
            self.since = wait;
            timer.as_mut().reset(Instant::now() + limit);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if self.since == wait {
                return Poll::Ready(());
            }
            self.since = wait;
            timer.as_mut().reset(Instant::now() + limit);
        }
    }
}
