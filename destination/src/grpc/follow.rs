//! A view's receiver as a stream of messages.
//!
//! There is no queue to overflow: a message is made when the transport asks for one, from the
//! newest value. A slow proxy skips what it missed, and costs one value.

use super::{caller::Caller, metrics::Open};
use futures::{Stream, stream};
use mesh_daemon::Shutdown;
use std::{collections::VecDeque, pin::Pin};
use tokio::sync::watch;
use tonic::Status;

/// A stream of messages, as tonic takes it.
pub(super) type Messages<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;

/// What follows from one value of a view.
pub(super) struct Step<M> {
    /// To be sent, in this order.
    pub(super) messages: Vec<M>,
    /// Then the stream ends, like this.
    pub(super) end: Option<Status>,
}

impl<M> Step<M> {
    /// Goes on.
    pub(super) fn send(messages: impl IntoIterator<Item = M>) -> Self {
        Self {
            messages: messages.into_iter().collect(),
            end: None,
        }
    }

    /// Ends without another message.
    pub(super) fn end(status: Status) -> Self {
        Self {
            messages: vec![],
            end: Some(status),
        }
    }
}

struct Follow<V, M, F> {
    view: watch::Receiver<V>,
    caller: Caller,
    shutdown: Shutdown,
    step: F,
    pending: VecDeque<Result<M, Status>>,
    ended: bool,
    open: Open,
}

/// The messages `step` makes of the first and each later value of `view`. Ends when `step` says so,
/// when the process stops, and when the caller became (or ceased to be) a gateway: it must ask
/// again, as the answers were not made for what it is now.
pub(super) fn follow<V, M>(
    mut view: watch::Receiver<V>,
    caller: Caller,
    shutdown: Shutdown,
    open: Open,
    step: impl FnMut(&V) -> Step<M> + Send + 'static,
) -> Messages<M>
where
    V: Clone + Send + Sync + 'static,
    M: Send + 'static,
{
    view.mark_changed();
    let follow = Follow {
        view,
        caller,
        shutdown,
        step,
        pending: VecDeque::new(),
        ended: false,
        open,
    };
    Box::pin(stream::unfold(follow, |mut follow| async move {
        let message = follow.next().await?;
        Some((message, follow))
    }))
}

impl<V: Clone, M, F: FnMut(&V) -> Step<M>> Follow<V, M, F> {
    async fn next(&mut self) -> Option<Result<M, Status>> {
        loop {
            if !self.ended && !self.caller.unchanged() {
                self.ended = true;
                self.pending.clear();
                let what = "this identity became, or ceased to be, a gateway's; ask again";
                return Some(Err(Status::unavailable(what)));
            }
            if let Some(message) = self.pending.pop_front() {
                self.open.sent();
                return Some(message);
            }
            if self.ended {
                return None;
            }
            tokio::select! {
                biased;
                () = self.shutdown.requested() => return None,
                () = self.caller.changed() => continue,
                changed = self.view.changed() => changed.ok()?,
            }
            let value = self.view.borrow_and_update().clone();
            let Step { messages, end } = (self.step)(&value);
            self.pending.extend(messages.into_iter().map(Ok));
            self.ended = end.is_some();
            self.pending.extend(end.map(Err));
        }
    }
}
