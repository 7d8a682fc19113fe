//! A response's body on its way from the server.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http_body::{Frame, SizeHint};

use super::streams::Opened;

/// Gives the server room for as much as was read.
pub(in crate::http) struct Download {
    stream: RecvStream,
    /// Whether what follows, if anything does, are trailers.
    data_over: bool,
    /// The stream's place on the connection, until it ends.
    opened: Option<Opened>,
}

impl Download {
    pub(super) fn new(stream: RecvStream, opened: Opened) -> Self {
        let opened = (!stream.is_end_stream()).then_some(opened);
        Self {
            stream,
            data_over: false,
            opened,
        }
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, h2::Error>>> {
        let data = match ready!(self.stream.poll_data(cx)) {
            Some(Ok(data)) => data,
            // RFC 9113 §8.1: the response is whole, the rest of the request is not wanted.
            Some(Err(error)) if error.reason() == Some(Reason::NO_ERROR) => {
                return Poll::Ready(None);
            }
            ended => return Poll::Ready(ended),
        };
        if let Some(opened) = &self.opened {
            opened.received(data.len());
        }
        let released = self.stream.flow_control().release_capacity(data.len());
        Poll::Ready(Some(released.map(|()| data)))
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if !self.data_over {
            match ready!(self.poll_data(cx)) {
                Some(data) => return Poll::Ready(Some(data.map(Frame::data))),
                None => self.data_over = true,
            }
        }
        let trailers = match ready!(self.stream.poll_trailers(cx)) {
            Ok(trailers) => trailers.map(Frame::trailers).map(Ok),
            Err(error) if error.reason() == Some(Reason::NO_ERROR) => None,
            Err(error) => Some(Err(error)),
        };
        Poll::Ready(trailers)
    }
}

impl http_body::Body for Download {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let frame = ready!(self.poll_next(cx));
        if self.stream.is_end_stream() || !matches!(frame, Some(Ok(_))) {
            self.opened = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.is_end_stream() {
            true => SizeHint::with_exact(0),
            false => SizeHint::default(),
        }
    }
}
