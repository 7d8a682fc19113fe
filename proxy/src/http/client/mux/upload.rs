//! A request's body on its way to the server.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body as _;

use crate::{error::h2_error, http::Body};

pub(super) struct Upload {
    stream: SendStream<Bytes>,
    body: Body,
}

impl Upload {
    pub(super) fn new(stream: SendStream<Bytes>, body: Body) -> Self {
        Self { stream, body }
    }

    /// Ready when there is nothing more to send. Why it ended before its time shows in the response.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            // Nothing is taken from the client that could not be passed on.
            if ready!(self.poll_room(cx)).is_none() {
                return Poll::Ready(());
            }
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                None => {
                    self.sent(|stream| stream.send_data(Bytes::new(), true));
                    return Poll::Ready(());
                }
                Some(Err(error)) => {
                    let reason = h2_error(&*error).and_then(h2::Error::reason);
                    self.stream
                        .send_reset(reason.unwrap_or(Reason::INTERNAL_ERROR));
                    return Poll::Ready(());
                }
            };
            let last = self.body.is_end_stream();
            let over = match frame.into_data() {
                Ok(data) => !self.sent(|stream| stream.send_data(data, last)) || last,
                Err(frame) => match frame.into_trailers() {
                    Ok(trailers) => {
                        self.sent(|stream| stream.send_trailers(trailers));
                        true
                    }
                    Err(_) => false,
                },
            };
            if over {
                return Poll::Ready(());
            }
        }
    }

    /// Whether it was: a stream that has ended takes nothing.
    fn sent(&mut self, send: impl FnOnce(&mut SendStream<Bytes>) -> Result<(), h2::Error>) -> bool {
        let sent = send(&mut self.stream);
        if let Err(error) = &sent {
            tracing::debug!(%error, "the stream of a request ended before its body");
        }
        sent.is_ok()
    }

    /// Ready when the server takes more; `None` when it takes nothing any more.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Option<()>> {
        if self.stream.poll_reset(cx).is_ready() {
            return Poll::Ready(None);
        }
        self.stream.reserve_capacity(1);
        while self.stream.capacity() == 0 {
            match ready!(self.stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(None),
            }
        }
        Poll::Ready(Some(()))
    }
}
