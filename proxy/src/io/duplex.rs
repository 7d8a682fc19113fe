//! Copying between two streams, both ways.
//!
//! A piece is read into a buffer of the thread's and written at once. Only what the other side does
//! not take keeps memory of its own, until it does: a connection that is idle holds none. Where both
//! sides are sockets in the clear, large pieces do not leave the kernel.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncWrite, ReadBuf};

use super::{Io, scratch, splice::Pipe};

/// Copies both ways until both sides have finished; an end on one side is passed on while the
/// other direction goes on. Returns bytes copied from `a` to `b` and from `b` to `a`.
pub async fn duplex(mut a: impl Io, mut b: impl Io) -> io::Result<(u64, u64)> {
    let (mut there, mut back) = (Direction::default(), Direction::default());
    poll_fn(|cx| {
        let there = there.poll(cx, &mut a, &mut b)?;
        let back = back.poll(cx, &mut b, &mut a)?;
        match (there, back) {
            (Poll::Ready(there), Poll::Ready(back)) => Poll::Ready(Ok((there, back))),
            _ => Poll::Pending,
        }
    })
    .await
}

/// Pieces of this size pay for a system call more.
const LARGE: usize = 16 * 1024;

/// One of both.
#[derive(Default)]
struct Direction {
    /// Read and not written yet.
    held: Vec<u8>,
    /// How much of `held` was written.
    written: usize,
    copied: u64,
    /// Whether something was written that may wait to be flushed.
    dirty: bool,
    /// Whether pieces are large, and need not leave the kernel.
    large: bool,
    /// What was moved out of one socket and not into the other yet.
    pipe: Option<Pipe>,
    end: End,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum End {
    /// Not yet.
    #[default]
    Open,
    /// The reader is to be told.
    Seen,
    /// It was.
    Told,
}

impl Direction {
    /// Copies as much as can be; ready with the number of bytes once the end was passed on.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut impl Io,
        to: &mut impl Io,
    ) -> Poll<io::Result<u64>> {
        loop {
            match self.end {
                End::Told => return Poll::Ready(Ok(self.copied)),
                End::Seen => {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                    self.end = End::Told;
                }
                End::Open if self.large || self.pipe.is_some() => {
                    ready!(self.poll_splice(cx, from, to))?;
                }
                End::Open => {
                    ready!(self.poll_held(cx, to))?;
                    let mut buffer = scratch::take();
                    let moved = self.poll_move(cx, from, to, &mut buffer);
                    scratch::give(buffer);
                    ready!(moved)?;
                }
            }
        }
    }

    /// Writes what the other side did not take before.
    fn poll_held(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        while self.written < self.held.len() {
            let n = ready!(Pin::new(&mut *to).poll_write(cx, &self.held[self.written..]))?;
            self.wrote(n)?;
            self.written += n;
        }
        if !self.held.is_empty() {
            (self.held, self.written) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads a piece and writes it; pending if there is none, or if some of it is held now.
    fn poll_move(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut impl Io,
        to: &mut impl Io,
        buffer: &mut [u8],
    ) -> Poll<io::Result<()>> {
        let mut read = ReadBuf::new(buffer);
        if Pin::new(&mut *from).poll_read(cx, &mut read)?.is_pending() {
            if self.dirty {
                ready!(Pin::new(to).poll_flush(cx))?;
                self.dirty = false;
            }
            return Poll::Pending;
        }
        let mut piece = read.filled();
        if piece.is_empty() {
            self.end = End::Seen;
        }
        let full = piece.len() == scratch::SIZE;
        while !piece.is_empty() {
            match Pin::new(&mut *to).poll_write(cx, piece)? {
                Poll::Ready(n) => {
                    self.wrote(n)?;
                    piece = &piece[n..];
                }
                Poll::Pending => {
                    self.held = piece.to_vec();
                    return Poll::Pending;
                }
            }
        }
        self.large = full && from.socket().is_some() && to.socket().is_some();
        Poll::Ready(Ok(()))
    }

    /// Moves a piece inside the kernel.
    fn poll_splice(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut impl Io,
        to: &mut impl Io,
    ) -> Poll<io::Result<()>> {
        let Some(mut pipe) = self.pipe.take().or_else(|| Pipe::take().ok()) else {
            // No more files may be opened; they can be copied.
            self.large = false;
            return Poll::Ready(Ok(()));
        };
        if pipe.is_empty() {
            match pipe.poll_fill(cx, from)? {
                Poll::Ready(0) => self.end = End::Seen,
                Poll::Ready(n) => self.large = n >= LARGE,
                Poll::Pending => {
                    pipe.give();
                    return Poll::Pending;
                }
            }
        }
        while !pipe.is_empty() {
            match pipe.poll_drain(cx, to)? {
                Poll::Ready(n) => self.wrote(n)?,
                Poll::Pending => {
                    self.pipe = Some(pipe);
                    return Poll::Pending;
                }
            }
        }
        pipe.give();
        Poll::Ready(Ok(()))
    }

    fn wrote(&mut self, n: usize) -> io::Result<()> {
        if n == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.copied += n as u64;
        self.dirty = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
