//! HTTP/1 messages as they may look: what another reader could read in another way is refused
//! before the HTTP library sees it, and a client that is slow is cut off.
//!
//! [`Strict`] stands between a connection and the library, which forgives more than a proxy may:
//! bare line feeds, and a length beside chunks. [`Watch`] (pure) follows the framing of requests;
//! at the first fault the byte at fault becomes one that the library answers with 400, and nothing
//! after it is read. Requests that arrive whole cost a scan of their heads and no allocation.
//! [`crate::http::server`] is the only caller. [`Checked`] is the same at the other end: it looks at the
//! responses ([`Answers`]) to the requests of [`crate::http::client`], and breaks the connection off.

mod answers;
mod checked;
mod chunk;
mod framing;
mod line;
#[cfg(test)]
mod tests;
mod tunnel;

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::io::{AsyncRead, ReadBuf};

use super::clock::Clock;
use crate::io::{Io, write_through};

pub use answers::{Answers, Asked};
pub(super) use checked::Checked;
pub use framing::{Fault, MAX_HEAD, Phase, Watch};
pub use tunnel::Tunnel;

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// From the first byte of a head to its last.
    pub(super) head: Duration,
    /// Between requests.
    pub(super) idle: Duration,
}

/// A connection whose requests are looked at on their way to the library.
pub(super) struct Strict<I> {
    io: I,
    watch: Watch,
    limits: Limits,
    /// By how many requests there were, and where the next one stands.
    clock: Clock<(u64, Phase)>,
    /// Nothing more is read: a request was refused.
    over: bool,
}

impl<I> Strict<I> {
    pub(super) fn new(io: I, limits: Limits, tunnel: Tunnel) -> Self {
        Self {
            io,
            watch: Watch::new(tunnel),
            limits,
            clock: Clock::default(),
            over: false,
        }
    }

    /// Ready when the client has taken too long.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let phase = self.watch.phase();
        let (limit, what) = match phase {
            Phase::Between => (self.limits.idle, "no request came"),
            Phase::Head => (self.limits.head, "the head of a request took too long"),
            Phase::Elsewhere => return Poll::Pending,
        };
        // A head that has begun has less time than the timer may have been set to.
        let prompt = phase == Phase::Head;
        let late = self
            .clock
            .poll_late(cx, (self.watch.requests(), phase), limit, prompt);
        late.map(|()| io::Error::new(io::ErrorKind::TimedOut, what))
    }
}

impl<I: Io> Io for Strict<I> {}

impl<I: AsyncRead + Unpin> AsyncRead for Strict<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.over {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        match Pin::new(&mut this.io).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {
                if let Err(fault) = this.watch.see(&buf.filled()[before..]) {
                    tracing::debug!(%fault, "a request was refused");
                    this.over = true;
                    spoil(fault, before, buf);
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => this.poll_late(cx).map(Err),
        }
    }
}

/// Makes the library answer as the fault deserves: a NUL is allowed nowhere in a head (400), and a
/// head that ends there and is too long is too long (431).
fn spoil(fault: Fault, before: usize, buf: &mut ReadBuf<'_>) {
    let filled = buf.filled_mut();
    match fault {
        Fault::At(at, _) => {
            let at = before + at;
            filled[at] = 0;
            buf.set_filled(at + 1);
        }
        Fault::TooLong => {
            let end = b"\r\n\r\n";
            let n = end.len().min(filled.len() - before);
            let tail = filled.len() - n;
            filled[tail..].copy_from_slice(&end[end.len() - n..]);
        }
    }
}

write_through!(Strict);
