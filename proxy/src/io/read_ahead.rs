//! Reading a socket in large pieces for somebody who reads in small ones.
//!
//! The TLS library reads 4 KiB at a time, a quarter of a record. While data keeps filling that, a
//! buffer is read ahead; when nothing comes any more it is given back, so that an idle connection
//! has none.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, ReadBuf};

use super::{scratch, write_through};

/// A stream that is read ahead of its reader while that pays.
pub struct ReadAhead<I> {
    io: I,
    ahead: Option<Ahead>,
    /// Whether more came last time than the reader had asked for.
    busy: bool,
}

/// What was read and not asked for yet.
struct Ahead {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

/// Whoever reads less at a time has his reasons.
const LEAST: usize = 4096;

impl<I> ReadAhead<I> {
    /// Reads nothing yet.
    pub fn new(io: I) -> Self {
        Self {
            io,
            ahead: None,
            busy: false,
        }
    }

    fn release(&mut self) {
        if let Some(ahead) = self.ahead.take() {
            scratch::give(ahead.bytes);
        }
    }
}

impl<I> Drop for ReadAhead<I> {
    fn drop(&mut self) {
        self.release();
    }
}

impl<I: AsyncRead + Unpin> ReadAhead<I> {
    /// Fills the buffer; `false` at the end of the stream.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ahead = self.ahead.get_or_insert_with(|| Ahead {
            bytes: scratch::take(),
            start: 0,
            end: 0,
        });
        let mut buf = ReadBuf::new(&mut ahead.bytes);
        let polled = Pin::new(&mut self.io).poll_read(cx, &mut buf);
        let read = buf.filled().len();
        (ahead.start, ahead.end) = (0, read);
        if polled.is_pending() {
            self.busy = false;
            self.release();
        }
        polled
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for ReadAhead<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.ahead.is_none() && !this.busy {
            let asked = buf.remaining();
            let before = buf.filled().len();
            ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
            this.busy = asked >= LEAST && buf.filled().len() - before == asked;
            return Poll::Ready(Ok(()));
        }
        if this
            .ahead
            .as_ref()
            .is_none_or(|ahead| ahead.start == ahead.end)
        {
            ready!(this.poll_fill(cx))?;
        }
        if let Some(ahead) = &mut this.ahead {
            let n = buf.remaining().min(ahead.end - ahead.start);
            buf.put_slice(&ahead.bytes[ahead.start..ahead.start + n]);
            ahead.start += n;
        }
        Poll::Ready(Ok(()))
    }
}

write_through!(ReadAhead);

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn bytes_come_whole_and_in_order_however_they_are_asked_for() {
        let sent: Vec<u8> = (0..300_000_u32).map(|i| (i % 251) as u8).collect();
        let (near, mut far) = tokio::io::duplex(100_000);
        let sending = {
            let sent = sent.clone();
            tokio::spawn(async move { far.write_all(&sent).await })
        };
        let mut io = ReadAhead::new(near);
        let mut received = Vec::new();
        // As the TLS library asks, and then as nobody does.
        for size in [4096, 4096, 4096, 1, 100_000, 7, 4096].into_iter().cycle() {
            let mut piece = vec![0; size];
            let n = io.read(&mut piece).await.unwrap();
            if n == 0 {
                break;
            }
            received.extend_from_slice(&piece[..n]);
        }
        sending.await.unwrap().unwrap();
        assert_eq!(received, sent);
    }

    #[tokio::test]
    async fn a_stream_that_went_quiet_holds_no_buffer() {
        let (near, mut far) = tokio::io::duplex(100_000);
        let mut io = ReadAhead::new(near);
        far.write_all(&[7; 20_000]).await.unwrap();
        let mut piece = [0; 4096];
        let mut read = 0;
        while read < 20_000 {
            read += io.read(&mut piece).await.unwrap();
        }
        assert!(io.busy, "more came than was asked for");
        let quiet = futures::poll!(std::pin::pin!(io.read(&mut piece)));
        assert!(quiet.is_pending());
        assert!(io.ahead.is_none() && !io.busy);
    }
}
