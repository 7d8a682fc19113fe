//! HTTP/2 frames as they arrive: a head, once begun, has a deadline.
//!
//! The library waits for the rest of a head (HEADERS and its CONTINUATIONs) for as long as the
//! connection lives, and nothing else can pass meanwhile. [`Prompt`] stands between a connection and
//! the library and breaks it off; [`Watch`] (pure) follows where frames begin and end. Only bodies, and
//! the pauses between frames, may take as long as they like.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::io::{AsyncRead, ReadBuf};

use super::clock::Clock;
use crate::io::{Io, write_through};

/// The preface that a client sends before its first frame.
pub(super) const PREFACE: usize = 24;

const FRAME_HEAD: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PUSH_PROMISE: u8 = 5;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// Follows a connection's frames. Total over any bytes in any pieces: what is no HTTP/2 is for the
/// library to refuse.
#[derive(Debug)]
pub(super) struct Watch {
    head: [u8; FRAME_HEAD],
    /// How much of it has come.
    filled: usize,
    /// What is left of the payload of the frame it is the head of.
    left: usize,
    /// Whether that payload may take its time.
    slow: bool,
    /// Whether a head is not complete at the end of that frame.
    open: bool,
    /// How often the connection stood where nothing was awaited.
    rests: u64,
}

impl Watch {
    /// At the beginning of a connection, before so many bytes that are no frames.
    pub(super) fn new(before: usize) -> Self {
        Self {
            head: [0; FRAME_HEAD],
            filled: 0,
            left: before,
            slow: true,
            open: false,
            rests: 0,
        }
    }

    /// Takes what came next.
    pub(super) fn see(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let n = match self.left {
                0 => self.see_head(bytes),
                left => {
                    let n = left.min(bytes.len());
                    self.left -= n;
                    n
                }
            };
            bytes = &bytes[n..];
            if !self.is_awaited() {
                self.rests += 1;
            }
        }
    }

    /// Takes a part of a frame's head and returns how much that was.
    fn see_head(&mut self, bytes: &[u8]) -> usize {
        let n = (FRAME_HEAD - self.filled).min(bytes.len());
        self.head[self.filled..self.filled + n].copy_from_slice(&bytes[..n]);
        self.filled += n;
        if self.filled == FRAME_HEAD {
            self.filled = 0;
            let [a, b, c, kind, flags, ..] = self.head;
            self.left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            self.slow = kind == DATA;
            if matches!(kind, HEADERS | PUSH_PROMISE | CONTINUATION) {
                self.open = flags & END_HEADERS == 0;
            }
        }
        n
    }

    /// Whether something has begun that must end soon.
    pub(super) fn is_awaited(&self) -> bool {
        self.open || self.filled > 0 || (self.left > 0 && !self.slow)
    }
}

/// A connection that breaks off when what must end soon does not.
pub(super) struct Prompt<I> {
    io: I,
    watch: Watch,
    limit: Duration,
    /// By where the connection rested last.
    clock: Clock<u64>,
}

impl<I> Prompt<I> {
    /// `before`: how many bytes come before the first frame.
    pub(super) fn new(io: I, before: usize, limit: Duration) -> Self {
        Self {
            io,
            watch: Watch::new(before),
            limit,
            clock: Clock::default(),
        }
    }

    /// Ready when the peer has taken too long.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if !self.watch.is_awaited() {
            return Poll::Pending;
        }
        let rests = self.watch.rests;
        let late = self.clock.poll_late(cx, rests, self.limit, true);
        late.map(|()| {
            let what = "the head of a message took too long";
            io::Error::new(io::ErrorKind::TimedOut, what)
        })
    }
}

impl<I: Io> Io for Prompt<I> {}

impl<I: AsyncRead + Unpin> AsyncRead for Prompt<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        match Pin::new(&mut this.io).poll_read(cx, buf) {
            Poll::Ready(read) => {
                this.watch.see(&buf.filled()[before..]);
                Poll::Ready(read)
            }
            Poll::Pending => this.poll_late(cx).map(Err),
        }
    }
}

write_through!(Prompt);

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend([kind, flags, 0, 0, 0, 1]);
        frame.extend(payload);
        frame
    }

    /// Where nothing is awaited, after each byte and before the first.
    fn rests(bytes: &[u8]) -> Vec<usize> {
        let mut watch = Watch::new(2);
        let mut rests = Vec::new();
        for (at, byte) in bytes.iter().enumerate() {
            if !watch.is_awaited() {
                rests.push(at);
            }
            watch.see(&[*byte]);
        }
        rests.extend((!watch.is_awaited()).then_some(bytes.len()));
        // The same in one piece.
        let mut whole = Watch::new(2);
        whole.see(bytes);
        assert_eq!(whole.is_awaited(), watch.is_awaited());
        rests
    }

    #[test]
    fn only_heads_and_what_is_no_body_must_come_whole() {
        // Before the first frame, then one of data, of settings, and a head in three frames.
        let mut bytes = b"PR".to_vec();
        bytes.extend(frame(DATA, 0, b"123"));
        bytes.extend(frame(4, 0, b"123"));
        bytes.extend(frame(HEADERS, 1, b"12"));
        bytes.extend(frame(CONTINUATION, 0, b""));
        bytes.extend(frame(CONTINUATION, END_HEADERS, b"1"));
        assert_eq!(rests(&bytes), [0, 1, 2, 11, 12, 13, 14, 26, 56]);
    }

    #[test]
    fn whatever_the_bytes_they_are_followed() {
        for byte in 0..=u8::MAX {
            let _ = rests(&[byte; 64]);
        }
    }
}
