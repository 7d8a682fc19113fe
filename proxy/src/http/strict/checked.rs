//! The connection of a client whose responses are looked at on their way to the library.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, ReadBuf};

use super::answers::{Answers, Asked};
use crate::io::write_through;

/// A connection that breaks off where a response could be read in two ways.
pub(in crate::http) struct Checked<I> {
    io: I,
    answers: Answers,
    /// What is wrong with what comes next.
    fault: Option<String>,
}

impl<I> Checked<I> {
    pub(in crate::http) fn new(io: I, asked: Asked) -> Self {
        Self {
            io,
            answers: Answers::new(asked),
            fault: None,
        }
    }
}

/// An error that says whose fault it is: not a broken connection.
fn malformed(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the response has {what}"),
    )
}

impl<I: AsyncRead + Unpin> AsyncRead for Checked<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Some(fault) = &this.fault {
            return Poll::Ready(Err(malformed(fault)));
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.io).poll_read(cx, buf);
        if let Err((whole, fault)) = this.answers.see(&buf.filled()[before..]) {
            tracing::debug!(%fault, "a response was refused");
            let fault = this.fault.insert(fault.to_string());
            // Responses that had ended before stay what they were.
            buf.set_filled(before + whole);
            if whole == 0 {
                return Poll::Ready(Err(malformed(fault)));
            }
        }
        polled
    }
}

write_through!(Checked);
