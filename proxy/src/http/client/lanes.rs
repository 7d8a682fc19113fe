//! The HTTP/2 connections to one endpoint: one that is there as long as the endpoint, and more
//! while it is the bottleneck.
//!
//! Servers bound the streams of a connection, commonly to between 100 and 250, and what is beyond
//! waits in the client; one connection is also one task and, on a lossy path, one congestion window.
//! So once [`STREAMS`] are in flight on each connection, one more is made behind the requests'
//! backs: none waits for it, and none fails with it. It ends when it has carried nothing for a
//! while.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{Request, Response};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Dial, Failed, LinkState, OnChange, Settings, link::Link};
use crate::http::{Body, observe::hold};

#[cfg(test)]
mod tests;

/// So many streams at once are what every common server lets a connection have.
const STREAMS: usize = 100;
/// Most connections to one endpoint; beyond `STREAMS` on each, they share what comes.
const MOST: usize = 16;
/// Pause after a connection could not be made, the first one excepted, which has its own.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Lanes(Arc<Inner>);

struct Inner {
    dial: Dial,
    settings: Settings,
    first: Lane,
    /// Whether there are more than the first, for a look without the lock.
    wide: AtomicBool,
    more: Mutex<More>,
}

#[derive(Default)]
struct More {
    lanes: Vec<Lane>,
    /// No further connection before.
    not_before: Option<Instant>,
}

struct Lane {
    link: Arc<Link>,
    streams: Arc<AtomicUsize>,
    /// Whether it was chosen since the last look for idle ones.
    used: AtomicBool,
}

/// A request's place on a connection; held until its response has ended.
#[derive(Debug)]
pub struct Stream(Arc<AtomicUsize>);

impl Lanes {
    pub(super) fn new(dial: Dial, settings: Settings, on_change: OnChange) -> Self {
        let first = Lane::new(Link::new(dial.clone(), settings, on_change));
        Self(Arc::new(Inner {
            dial,
            settings,
            first,
            wide: AtomicBool::new(false),
            more: Mutex::default(),
        }))
    }

    /// The connection that is always there.
    pub(super) fn first(&self) -> &Link {
        &self.0.first.link
    }

    pub(super) async fn send(
        &self,
        request: Request<Body>,
    ) -> Result<(Response<Body>, Stream), Box<Failed>> {
        let (link, stream) = self.choose();
        let response = link.send(request).await?;
        Ok((response, stream))
    }

    fn choose(&self) -> (Arc<Link>, Stream) {
        let first = &self.0.first;
        let wide = self.0.wide.load(Ordering::Relaxed);
        if !wide && first.streams() < STREAMS {
            return first.take();
        }
        self.choose_among_all()
    }

    /// The connection with the fewest streams; makes one more if even that has its fill.
    fn choose_among_all(&self) -> (Arc<Link>, Stream) {
        let mut more = self.0.more.lock();
        more.forget_lost();
        let ready = more.lanes.iter().filter(|lane| lane.is_up());
        let best = ready.fold(&self.0.first, |best, lane| {
            if lane.streams() < best.streams() {
                lane
            } else {
                best
            }
        });
        let (full, chosen) = (best.streams() >= STREAMS, best.take());
        if full && more.may_grow(Instant::now()) {
            let alone = more.lanes.is_empty();
            more.lanes.push(self.0.another());
            self.0.wide.store(true, Ordering::Relaxed);
            if alone {
                tokio::spawn(shrink(Arc::downgrade(&self.0)));
            }
        }
        chosen
    }
}

impl Inner {
    /// One more connection, being made.
    fn another(&self) -> Lane {
        tracing::debug!("one more HTTP/2 connection, as all have their fill");
        let link = Link::new(self.dial.clone(), self.settings, Arc::new(|| {}));
        link.start();
        Lane::new(link)
    }
}

impl More {
    /// Drops connections that ended or were never made.
    fn forget_lost(&mut self) {
        let before = self.lanes.len();
        let mut failed = false;
        self.lanes.retain(|lane| match lane.link.state() {
            LinkState::Up { .. } | LinkState::Connecting { first: true, .. } => true,
            state => {
                failed |= state == LinkState::Down;
                // One that takes no more may still have streams to end.
                lane.streams() > 0
            }
        });
        if failed {
            self.not_before = Some(Instant::now() + PAUSE);
        }
        if self.lanes.len() < before {
            tracing::debug!(left = self.lanes.len() + 1, "an HTTP/2 connection went");
        }
    }

    fn may_grow(&self, now: Instant) -> bool {
        self.lanes.len() + 1 < MOST
            && !self.lanes.iter().any(Lane::is_coming)
            && self.not_before.is_none_or(|then| then <= now)
    }
}

impl Lane {
    fn new(link: Link) -> Self {
        Self {
            link: Arc::new(link),
            streams: Arc::default(),
            used: AtomicBool::new(true),
        }
    }

    fn streams(&self) -> usize {
        self.streams.load(Ordering::Relaxed)
    }

    fn is_up(&self) -> bool {
        matches!(self.link.state(), LinkState::Up { .. })
    }

    fn is_coming(&self) -> bool {
        matches!(self.link.state(), LinkState::Connecting { first: true, .. })
    }

    fn take(&self) -> (Arc<Link>, Stream) {
        self.used.store(true, Ordering::Relaxed);
        self.streams.fetch_add(1, Ordering::Relaxed);
        (self.link.clone(), Stream(self.streams.clone()))
    }

    /// Whether it has carried nothing since this was asked before.
    fn is_idle(&self) -> bool {
        !self.used.swap(false, Ordering::Relaxed) && self.streams() == 0
    }
}

impl Stream {
    /// Keeps the place until the response's body has ended or was dropped.
    pub fn until_end_of(self, response: Response<Body>) -> Response<Body> {
        response.map(|body| hold(body, self))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Ends connections that have become idle, until there is but the first.
async fn shrink(inner: Weak<Inner>) {
    loop {
        let Some(period) = inner.upgrade().map(|inner| inner.settings.idle_timeout) else {
            return;
        };
        tokio::time::sleep(period).await;
        let Some(inner) = inner.upgrade() else {
            return;
        };
        let mut more = inner.more.lock();
        more.forget_lost();
        more.lanes.retain(|lane| !lane.is_idle());
        if more.lanes.is_empty() {
            inner.wide.store(false, Ordering::Relaxed);
            return;
        }
    }
}
