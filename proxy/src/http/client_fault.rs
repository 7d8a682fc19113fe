//! The body of a client's request, as those further on need to know of it: whether the client broke
//! it off, or sent nonsense for one (nobody else's fault, whatever the error further on says), and
//! when it was over.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use http::Request;
use http_body::Body as _;

use super::{
    Body,
    observe::{Observer, Seen, observe},
};
use crate::{Error, metrics::StreamMetrics};

/// What became of a client's body. Nothing to know of a request without one.
#[derive(Clone, Debug, Default)]
pub struct ClientFault(Option<Arc<State>>);

#[derive(Debug, Default)]
struct State {
    failed: AtomicBool,
    /// When its last byte was read.
    ended: OnceLock<Instant>,
}

impl ClientFault {
    /// The request with its body watched, and counted.
    pub fn of(request: Request<Body>, metrics: Option<&StreamMetrics>) -> (Self, Request<Body>) {
        if request.body().is_end_stream() {
            return (Self::default(), request);
        }
        let state = Arc::<State>::default();
        let watch = Watch {
            state: state.clone(),
            metrics: metrics.cloned(),
        };
        (Self(Some(state)), request.map(|body| observe(body, watch)))
    }

    /// Whether it failed.
    pub fn is_known(&self) -> bool {
        let state = self.0.as_ref();
        state.is_some_and(|state| state.failed.load(Ordering::Acquire))
    }

    /// When the request was over, given when it began to be sent; `None` if it is not yet.
    pub fn sent_at(&self, start: Instant) -> Option<Instant> {
        match &self.0 {
            None => Some(start),
            Some(state) => state.ended.get().map(|ended| start.max(*ended)),
        }
    }

    /// The error a request failed with, unless the client is to blame.
    pub fn or(&self, error: Error) -> Error {
        match self.is_known() {
            true => Error::BadRequest("the request's body broke off or is malformed"),
            false => error,
        }
    }
}

struct Watch {
    state: Arc<State>,
    metrics: Option<StreamMetrics>,
}

impl Observer for Watch {
    fn saw(&mut self, seen: Seen<'_>) {
        if let (Seen::Frame { frame, .. }, Some(metrics)) = (&seen, &self.metrics) {
            metrics.request_frame(frame);
        }
        match seen {
            Seen::Failed(_) => self.state.failed.store(true, Ordering::Release),
            seen if seen.is_over() => drop(self.state.ended.set(Instant::now())),
            _ => {}
        }
    }
}
