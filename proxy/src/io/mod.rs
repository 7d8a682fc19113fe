//! Byte streams: one boxed type, one that replays bytes read ahead, and copying between two.

mod duplex;
mod read_ahead;
mod scratch;
mod splice;

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use mesh_tls::{ClientStream, ServerStream};
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf},
    net::TcpStream,
};

pub use duplex::duplex;
pub use read_ahead::ReadAhead;

pub(crate) use mesh_tls::write_through;

/// What a connection is made of.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    /// The socket, if what is read from now on, and written, is as it passes there.
    fn socket(&self) -> Option<&TcpStream> {
        None
    }

    /// Told of what went past it between that socket and another.
    fn passed(&mut self, passed: Passed<'_>) {
        let _ = passed;
    }
}

/// What was done with a socket directly.
#[derive(Clone, Copy, Debug)]
pub enum Passed<'e> {
    /// So many bytes were read.
    Read(usize),
    /// So many bytes were written.
    Written(usize),
    /// It failed.
    Failed(&'e io::Error),
}

impl Io for TcpStream {
    fn socket(&self) -> Option<&TcpStream> {
        Some(self)
    }
}

impl Io for BoxIo {
    fn socket(&self) -> Option<&TcpStream> {
        (**self).socket()
    }

    fn passed(&mut self, passed: Passed<'_>) {
        (**self).passed(passed);
    }
}

impl<I: Io> Io for Prefixed<I> {
    fn socket(&self) -> Option<&TcpStream> {
        self.io.socket().filter(|_| self.prefix.is_empty())
    }

    fn passed(&mut self, passed: Passed<'_>) {
        self.io.passed(passed);
    }
}

// What is encrypted, or belongs to a library, cannot be passed by.
impl<I: Io> Io for ClientStream<I> {}
impl<I: Io> Io for ServerStream<I> {}
impl<I: Io> Io for ReadAhead<I> {}
impl Io for TokioIo<Upgraded> {}
impl Io for DuplexStream {}

/// A connection whose kind no longer matters.
pub type BoxIo = Box<dyn Io>;

/// Forgets the kind of a connection.
pub fn boxed(io: impl Io) -> BoxIo {
    Box::new(io)
}

/// A stream that first gives back bytes that were read ahead of it.
pub struct Prefixed<I> {
    prefix: Bytes,
    io: I,
}

impl<I> Prefixed<I> {
    /// Replays `prefix`, then reads from `io`.
    pub fn new(prefix: Bytes, io: I) -> Self {
        Self { prefix, io }
    }

    /// The stream without what was not replayed yet.
    pub fn get_ref(&self) -> &I {
        &self.io
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Prefixed<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.prefix.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let n = self.prefix.len().min(buf.remaining());
        buf.put_slice(&self.prefix[..n]);
        self.prefix.advance(n);
        if self.prefix.is_empty() {
            // Give the allocation back now rather than at the end of the connection.
            self.prefix = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

write_through!(Prefixed);
