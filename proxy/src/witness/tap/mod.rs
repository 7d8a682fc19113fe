//! Taps: somebody looks at live requests for a while (`viz tap`).
//!
//! [`Taps`] knows who looks, [`matches`] decides which requests they see (pure), [`events`] makes what
//! they are told (pure), [`server`] is the gRPC service behind it. Nobody waits for whoever looks:
//! what does not fit in its queue is not told.

mod events;
mod matches;
pub mod server;
#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{Request, Response};
use linkerd2_proxy_api::tap::TapEvent;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use self::{events::Event, matches::Match};
use super::{Outcome, Subject};
use crate::http::Body;

/// Who looks. Cloned freely.
#[derive(Clone, Default)]
pub struct Taps(Arc<Inner>);

#[derive(Default)]
struct Inner {
    sessions: Mutex<Vec<Arc<Session>>>,
    /// How many there are, to be looked at by every request.
    count: AtomicUsize,
    streams: AtomicU64,
}

/// Somebody who looks.
struct Session {
    matches: Match,
    /// Whether headers are told.
    headers: bool,
    /// How many more requests are told.
    left: AtomicU32,
    events: mpsc::Sender<TapEvent>,
}

/// A request somebody looks at.
pub struct Tapped {
    session: Arc<Session>,
    event: Event,
}

/// As many may look at once.
const MOST: usize = 32;
/// Events that wait for whoever looks.
const QUEUE: usize = 400;

impl Taps {
    /// Whether nobody looks.
    pub fn is_idle(&self) -> bool {
        self.0.count.load(Ordering::Relaxed) == 0
    }

    /// Lets somebody look at `limit` requests; `None` if enough do already.
    fn add(&self, matches: Match, headers: bool, limit: u32) -> Option<mpsc::Receiver<TapEvent>> {
        let mut sessions = self.0.sessions.lock();
        sessions.retain(|session| !session.is_over());
        if sessions.len() >= MOST {
            return None;
        }
        let (events, told) = mpsc::channel(QUEUE);
        sessions.push(Arc::new(Session {
            matches,
            headers,
            left: AtomicU32::new(limit),
            events,
        }));
        self.0.count.store(sessions.len(), Ordering::Relaxed);
        Some(told)
    }

    /// Those who look at this request.
    pub(super) fn matching(&self, subject: Subject<'_>, request: &Request<Body>) -> Vec<Tapped> {
        if self.is_idle() {
            return Vec::new();
        }
        let mut sessions = self.0.sessions.lock();
        let mut tapped = Vec::new();
        sessions.retain(|session| {
            if session.is_over() {
                return false;
            }
            if session.matches.is(subject, request) && session.take() {
                let stream = self.0.streams.fetch_add(1, Ordering::Relaxed);
                let event = Event::new(subject, stream, session.headers);
                session.tell(event.request(request));
                let session = session.clone();
                tapped.push(Tapped { session, event });
            }
            !session.is_over()
        });
        self.0.count.store(sessions.len(), Ordering::Relaxed);
        tapped
    }
}

impl Session {
    fn is_over(&self) -> bool {
        self.events.is_closed() || self.left.load(Ordering::Relaxed) == 0
    }

    /// One of the requests it may see.
    fn take(&self) -> bool {
        let one = |left: u32| left.checked_sub(1);
        let taken = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one);
        taken.is_ok()
    }

    fn tell(&self, event: TapEvent) {
        // Full or gone: the request does not wait.
        let _ = self.events.try_send(event);
    }
}

impl Tapped {
    pub(super) fn response(&self, since: Duration, response: &Response<Body>) {
        self.session.tell(self.event.response(since, response));
    }

    pub(super) fn end(self, outcome: &Outcome<'_>) {
        self.session.tell(self.event.end(outcome));
    }
}
