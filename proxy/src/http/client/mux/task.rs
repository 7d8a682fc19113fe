//! The task of a connection.

use std::{
    io,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::sync::oneshot;

use super::{Shared, pings::Pings};
use crate::{http::frames::Prompt, io::BoxIo};

/// Reads and writes a connection until it ends, or until nobody needs it.
pub(super) struct Task {
    pub(super) io: h2::client::Connection<Prompt<BoxIo>, Bytes>,
    /// To see whether it takes more requests. Dropped, it lets the connection end.
    pub(super) requests: Option<SendRequest<Bytes>>,
    pub(super) pings: Option<Pings>,
    pub(super) shared: Arc<Shared>,
    pub(super) told: Option<oneshot::Sender<io::Result<()>>>,
}

impl Future for Task {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if let Poll::Ready(ended) = Pin::new(&mut this.io).poll(cx) {
            this.close(ended.map_err(io::Error::other));
            return Poll::Ready(());
        }
        if let Some(requests) = &mut this.requests {
            let most = requests.current_max_send_streams();
            this.shared.streams.bound(most);
            if let Poll::Ready(Err(error)) = requests.poll_ready(cx) {
                this.close(match error.reason() {
                    Some(h2::Reason::NO_ERROR) => Ok(()),
                    _ => Err(io::Error::other(error)),
                });
            }
        }
        // The request that was the last woke this.
        if this.shared.streams.is_spent() {
            this.close(Ok(()));
        }
        let unneeded = |told: &mut oneshot::Sender<_>| told.poll_closed(cx).is_ready();
        if this.told.as_mut().is_some_and(unneeded) {
            this.close(Ok(()));
        }
        if this.poll_pings(cx).is_ready() {
            let what = "a ping was not answered in time";
            this.close(Err(io::Error::new(io::ErrorKind::TimedOut, what)));
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

impl Task {
    /// No more requests.
    fn close(&mut self, why: io::Result<()>) {
        self.requests = None;
        self.shared.closed.store(true, Ordering::Release);
        self.shared.streams.tell();
        let Some(told) = self.told.take() else {
            return;
        };
        if let Err(Err(error)) = told.send(why) {
            tracing::debug!(%error, "HTTP/2 connection ended");
        }
    }

    /// Ready when the server has not answered a ping in time.
    fn poll_pings(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(pings) = &mut self.pings else {
            return Poll::Pending;
        };
        let shared = &*self.shared;
        while let Some(took) = ready!(pings.poll(cx, shared)) {
            let size = shared.window.as_ref().and_then(|w| w.answered(took));
            if let Some(size) = size {
                self.io.set_target_window_size(size);
                // Refused while the size before is not acknowledged yet; the next ping tries again.
                if let Err(error) = self.io.set_initial_window_size(size) {
                    tracing::debug!(%error, size, "the window stays as it is");
                }
            }
        }
        Poll::Ready(())
    }
}
