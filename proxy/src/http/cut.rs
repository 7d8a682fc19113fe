//! Breaking off a response that has begun: its head is out, so that nothing else can be said.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures::{FutureExt, future::BoxFuture};
use http::Response;
use hyper::upgrade::OnUpgrade;

use super::{
    Body,
    body::BodyError,
    observe::{Observer, Seen, observe},
    upgrade,
};
use crate::Error;

/// Why a response broke off; to an HTTP/2 client, that it was cancelled.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct Cut {
    /// What happened.
    pub why: Error,
    #[source]
    reset: h2::Error,
}

impl Cut {
    /// For this reason.
    pub fn new(why: Error) -> Self {
        Self {
            why,
            reset: h2::Reason::CANCEL.into(),
        }
    }
}

/// The response, whose body, or the tunnel it opens, goes on until `end` at the longest.
pub fn until(
    mut response: Response<Body>,
    end: impl Future<Output = Error> + Send + 'static,
) -> Response<Body> {
    if response.extensions().get::<OnUpgrade>().is_some() {
        upgrade::end_with(&mut response, end.map(drop));
        return response;
    }
    response.map(|body| observe(body, End(Box::pin(end))))
}

struct End(BoxFuture<'static, Error>);

impl Observer for End {
    fn saw(&mut self, _: Seen<'_>) {}

    fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<BodyError> {
        let ended = Pin::new(&mut self.0).poll(cx);
        ended.map(|error| Cut::new(error).into())
    }
}
