//! One HTTP/2 connection to a server, on the frame library itself (RFC 9113).
//!
//! A request is put on the connection by who sends it, and its response is awaited and read there too: no
//! task stands between, except for a body that is still being sent when the response begins. The
//! connection itself has one task, [`Task`], that reads, writes, pings and says when no more requests fit.

mod download;
mod pings;
mod streams;
mod task;
mod upload;
mod window;

use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use http::{Method, Request, Response, header};
use http_body::Body as _;
use tokio::sync::oneshot;
use tracing::Instrument;

use self::{
    pings::Pings,
    streams::{Opened, Streams},
    task::Task,
    upload::Upload,
    window::Window,
};
use super::Settings;
use crate::{
    Error,
    http::{Body, frames::Prompt},
    io::BoxIo,
};

pub(in crate::http) use download::Download;

/// How long a server may take from the first byte of a head to its last.
const HEAD_LIMIT: Duration = Duration::from_secs(10);
/// Streams in flight before the server has said how many it takes.
const STREAMS_AT_FIRST: usize = 100;
/// Streams that the server may make us reset, before it is taken for hostile.
const MOST_FAULTS: usize = 1024;

/// How long it may take until a response that has come is seen by who waits for it.
const ANSWER_PASSES: Duration = Duration::from_millis(50);

/// Puts requests on a connection.
#[derive(Clone)]
pub(super) struct Sender {
    requests: SendRequest<Bytes>,
    shared: Arc<Shared>,
}

/// What a connection's task, its senders and its streams share.
#[derive(Debug)]
struct Shared {
    /// Whether it takes no more requests.
    closed: AtomicBool,
    /// Whether it has carried a response.
    answered: AtomicBool,
    streams: Streams,
    /// How much is in flight towards us, if that decides the windows.
    window: Option<Window>,
}

/// Ready when the connection takes no more requests; those in flight may go on after that. Dropped, it
/// lets the connection end with the last of its streams.
pub(super) struct Connection(oneshot::Receiver<io::Result<()>>);

/// A request that got no response.
pub(super) struct Unanswered {
    pub(super) error: h2::Error,
    /// The request, if nothing of it was sent.
    pub(super) request: Option<Request<Body>>,
}

/// Begins HTTP/2 on a connection.
pub(super) async fn handshake(
    io: BoxIo,
    settings: &Settings,
) -> Result<(Sender, Connection), Error> {
    let h2 = &settings.h2;
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_max_send_streams(STREAMS_AT_FIRST)
        .max_local_error_reset_streams(Some(MOST_FAULTS))
        .max_header_list_size(h2.max_header_list_size)
        .max_send_buffer_size(h2.max_send_buffer);
    if !h2.adaptive {
        builder
            .initial_window_size(h2.stream_window)
            .initial_connection_window_size(h2.connection_window);
    }
    if let Some(size) = h2.max_frame_size {
        builder.max_frame_size(size);
    }
    let io = Prompt::new(io, 0, HEAD_LIMIT);
    let (requests, mut io) = builder.handshake(io).await?;
    let shared = Arc::new(Shared {
        closed: AtomicBool::new(false),
        answered: AtomicBool::new(false),
        streams: Streams::new(STREAMS_AT_FIRST, settings.max_requests),
        window: h2.adaptive.then(Window::default),
    });
    let (told, connection) = oneshot::channel();
    let task = Task {
        pings: io.ping_pong().map(|pings| Pings::new(pings, settings)),
        io,
        requests: Some(requests.clone()),
        shared: shared.clone(),
        told: Some(told),
    };
    tokio::spawn(task.in_current_span());
    Ok((Sender { requests, shared }, Connection(connection)))
}

impl Sender {
    /// Whether the connection takes no more requests.
    pub(super) fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Acquire) || self.is_spent()
    }

    /// Whether it has carried as many requests as it may.
    pub(super) fn is_spent(&self) -> bool {
        self.shared.streams.is_spent()
    }

    /// Sends one request, once the server takes one more, and returns when its response begins.
    pub(super) async fn send(
        &mut self,
        request: Request<Body>,
    ) -> Result<Response<Body>, Unanswered> {
        let opened = match self.open().await {
            Ok(opened) => opened,
            Err(error) => {
                let request = Some(request);
                return Err(Unanswered { error, request });
            }
        };
        let (mut parts, body) = request.into_parts();
        let ended = body.is_end_stream();
        if let Some(length) = body.size_hint().exact()
            && (length > 0 || is_for_content(&parts.method))
        {
            let headers = &mut parts.headers;
            headers
                .entry(header::CONTENT_LENGTH)
                .or_insert_with(|| length.into());
        }
        let head = Request::from_parts(parts, ());
        let (response, stream) = self.requests.send_request(head, ended)?;
        let mut upload = (!ended).then(|| Upload::new(stream, body));
        let mut response = pin!(response);
        let response = poll_fn(|cx| {
            upload.take_if(|upload| upload.poll(cx).is_ready());
            response.as_mut().poll(cx)
        });
        let response = response.await?;
        self.shared.answered();
        if let Some(mut upload) = upload {
            tokio::spawn(async move { poll_fn(|cx| upload.poll(cx)).await }.in_current_span());
        }
        Ok(response.map(|body| Body::from(Download::new(body, opened))))
    }

    /// Whether the connection has carried a response. To be asked once it takes no more requests: one
    /// that came with the goodbye is waited for, as those it is for may be told of it later.
    pub(super) async fn has_served(&self) -> bool {
        let shared = &*self.shared;
        let decided = async {
            loop {
                let mut changed = pin!(shared.streams.freed());
                changed.as_mut().enable();
                if shared.has_answered() || !shared.streams.is_any() {
                    return;
                }
                changed.await;
            }
        };
        let _late = tokio::time::timeout(ANSWER_PASSES, decided).await;
        shared.has_answered()
    }

    /// Waits until the server takes one more stream. Fails if the connection takes none.
    async fn open(&mut self) -> Result<Opened, h2::Error> {
        loop {
            poll_fn(|cx| self.requests.poll_ready(cx)).await?;
            let mut freed = pin!(self.shared.streams.freed());
            // Before looking, so that none that ends in between is missed.
            freed.as_mut().enable();
            if let Some(opened) = Opened::new(&self.shared) {
                return Ok(opened);
            }
            if self.is_spent() {
                return Err(h2::Reason::REFUSED_STREAM.into());
            }
            freed.await;
        }
    }
}

impl Shared {
    fn has_answered(&self) -> bool {
        self.answered.load(Ordering::Acquire)
    }

    fn answered(&self) {
        if !self.has_answered() {
            self.answered.store(true, Ordering::Release);
            self.streams.tell();
        }
    }
}

/// Whether requests with this method usually have a body, so that its absence is worth saying
/// (RFC 9110 §8.6).
fn is_for_content(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

impl From<h2::Error> for Unanswered {
    fn from(error: h2::Error) -> Self {
        let request = None;
        Self { error, request }
    }
}

impl Future for Connection {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let told = Pin::new(&mut self.0).poll(cx);
        // A task that is gone without a word went with its runtime.
        told.map(|told| told.unwrap_or(Ok(())))
    }
}
