//! A request that fails because its own client broke it off, or sent nonsense for a body: nobody
//! else's fault, whatever the error further on says.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use http_body::Body as _;

use super::{
    Body,
    observe::{Observer, Seen, observe},
};
use crate::Error;

/// Whether the client's body failed. Nothing to know of a request without one.
#[derive(Clone, Debug, Default)]
pub struct ClientFault(Option<Arc<AtomicBool>>);

impl ClientFault {
    /// The body, watched.
    pub fn watch(body: Body) -> (Self, Body) {
        if body.is_end_stream() {
            return (Self::default(), body);
        }
        let failed = Arc::new(AtomicBool::new(false));
        let watched = observe(body, Watch(failed.clone()));
        (Self(Some(failed)), watched)
    }

    /// Whether it failed.
    pub fn is_known(&self) -> bool {
        let failed = self.0.as_ref();
        failed.is_some_and(|failed| failed.load(Ordering::Acquire))
    }

    /// The error a request failed with, unless the client is to blame.
    pub fn or(&self, error: Error) -> Error {
        match self.is_known() {
            true => Error::BadRequest("the request's body broke off or is malformed"),
            false => error,
        }
    }
}

struct Watch(Arc<AtomicBool>);

impl Observer for Watch {
    fn saw(&mut self, seen: Seen<'_>) {
        if let Seen::Failed = seen {
            self.0.store(true, Ordering::Release);
        }
    }
}
