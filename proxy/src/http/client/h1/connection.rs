//! An HTTP/1 connection that whoever uses it drives.
//!
//! It has no task of its own that would have to be woken for each request and wake its sender for each
//! response. A task is made for it only when it must go on without anybody looking: when a response
//! begins while the request is still being sent, since whoever reads the one may wait for the other.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::{Arc, Weak},
    task::{Context, Poll, Waker},
};

use http::{Request, Response};
use http_body::Body as _;
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1},
};
use hyper_util::rt::TokioIo;
use tracing::Instrument;

use crate::{
    Error,
    http::{
        Body,
        observe::hold,
        strict::{Asked, Checked},
        upgrade::is_upgrade,
    },
    io::BoxIo,
};

type Driven = http1::Connection<TokioIo<Checked<BoxIo>>, Body>;

/// A connection that takes requests, one after the other.
pub(super) struct Connection {
    requests: http1::SendRequest<Body>,
    /// What is told of each request to who reads the response.
    asked: Asked,
    /// `None` once it has ended, or if a task drives it.
    driven: Option<Box<Driven>>,
    /// How many requests it has carried.
    carried: u64,
}

impl Connection {
    pub(super) async fn new(io: BoxIo) -> Result<Self, Error> {
        let asked = Asked::default();
        let io = TokioIo::new(Checked::new(io, asked.clone()));
        let (requests, driven) = http1::handshake(io).await?;
        Ok(Self {
            requests,
            asked,
            driven: Some(Box::new(driven)),
            carried: 0,
        })
    }

    /// The same with a task to drive it, so that it can become something else than HTTP.
    pub(super) fn upgradable(mut self) -> Self {
        if let Some(driven) = self.driven.take() {
            spawn(driven.with_upgrades());
        }
        self
    }

    /// Sends one request and returns when its response begins. That one's body is to be read while the
    /// connection is driven.
    pub(super) async fn send(
        &mut self,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Body>>> {
        self.asked.ask(request.method(), is_upgrade(&request));
        self.carried += 1;
        let (upload, request) = watched(request);
        let mut response = pin!(self.requests.try_send_request(request));
        let driven = &mut self.driven;
        let response = poll_fn(|cx| {
            drive(driven, cx);
            response.as_mut().poll(cx)
        });
        let response = response.await?;
        if upload.strong_count() > 0
            && let Some(driven) = self.driven.take()
        {
            spawn(driven);
        }
        Ok(response)
    }

    /// How many requests it has carried.
    pub(super) fn carried(&self) -> u64 {
        self.carried
    }

    /// Lets pass what can pass, unless a task does.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) -> bool {
        drive(&mut self.driven, cx)
    }

    /// Whether it takes a request now.
    pub(super) fn is_ready(&mut self) -> bool {
        // Whether its server has closed it meanwhile shows only when somebody looks.
        self.drive(&mut Context::from_waker(Waker::noop()));
        self.requests.is_ready()
    }

    /// Ready once it takes a request, or never will.
    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        self.drive(cx);
        self.requests.poll_ready(cx).map(|ready| ready.is_ok())
    }
}

fn drive(connection: &mut Option<Box<Driven>>, cx: &mut Context<'_>) -> bool {
    let Some(driven) = connection else {
        return false;
    };
    if let Poll::Ready(ended) = Pin::new(driven).poll(cx) {
        log(ended);
        *connection = None;
    }
    true
}

fn spawn(driven: impl Future<Output = hyper::Result<()>> + Send + 'static) {
    tokio::spawn(async move { log(driven.await) }.in_current_span());
}

fn log(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "HTTP/1 connection ended");
    }
}

/// The request with something that goes when it has been sent to its end.
fn watched(request: Request<Body>) -> (Weak<()>, Request<Body>) {
    if request.body().is_end_stream() {
        return (Weak::new(), request);
    }
    let sending = Arc::new(());
    let upload = Arc::downgrade(&sending);
    (upload, request.map(|body| hold(body, sending)))
}
