//! Copying between two streams, both ways.
//!
//! A piece is read into a buffer of the thread's and written at once. Only what the other side does
//! not take keeps memory of its own, until it does: a connection that is idle holds none.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Io, scratch};

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
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        buffer: &mut [u8],
    ) -> Poll<io::Result<()>> {
        let mut read = ReadBuf::new(buffer);
        if Pin::new(from).poll_read(cx, &mut read)?.is_pending() {
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
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn bytes_pass_both_ways_and_each_end_by_itself() {
        // Small pipes: most of what is read cannot be written at once.
        let (mut client, near) = tokio::io::duplex(1000);
        let (far, mut server) = tokio::io::duplex(7);
        let copying = tokio::spawn(duplex(near, far));
        let request: Vec<u8> = (0..50_000_u32).map(|i| (i % 251) as u8).collect();
        let sent = request.clone();
        let serving = tokio::spawn(async move {
            let mut received = Vec::new();
            server.read_to_end(&mut received).await.unwrap();
            server.write_all(b"the answer").await.unwrap();
            received
        });
        client.write_all(&sent).await.unwrap();
        client.shutdown().await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"the answer");
        assert_eq!(serving.await.unwrap(), request);
        assert_eq!(copying.await.unwrap().unwrap(), (50_000, 10));
    }

    #[tokio::test]
    async fn nothing_is_held_once_it_was_taken() {
        let (mut a, mut from) = tokio::io::duplex(1000);
        let (mut to, mut b) = tokio::io::duplex(10);
        let mut direction = Direction::default();
        a.write_all(&[1; 100]).await.unwrap();
        let copied = futures::poll!(poll_fn(|cx| direction.poll(cx, &mut from, &mut to)));
        assert!(copied.is_pending());
        assert_eq!(direction.held.len(), 90);
        let mut received = [0; 100];
        for _ in 0..10 {
            b.read_exact(&mut received[..10]).await.unwrap();
            let copied = futures::poll!(poll_fn(|cx| direction.poll(cx, &mut from, &mut to)));
            assert!(copied.is_pending());
        }
        assert_eq!(direction.held.capacity(), 0);
        assert_eq!(direction.copied, 100);
    }
}
