//! Moving bytes from socket to socket inside the kernel, by way of a pipe: `splice(2)`.
//!
//! Measured (`bench`, case `clear`) it costs half the CPU time of copying where bytes come in large
//! pieces, and more where they do not. So a direction starts copying, changes over at the first full
//! piece, and goes back when pieces are small again. Pipes are shared by a thread's connections like
//! the buffers of `scratch`: one is held only while bytes are in it.

use std::{
    cell::RefCell,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    task::{Context, Poll, ready},
};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;

use super::{Io, Passed};

/// What a pipe holds at most. The kernel's default is a quarter; where it refuses more (a user may
/// have so many large pipes), that is what is used.
const SIZE: usize = 256 * 1024;
/// Pipes a thread keeps for the next time.
const KEPT: usize = 4;

thread_local! {
    static FREE: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
}

/// A pipe, and how much is in it.
#[derive(Debug)]
pub(super) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    held: usize,
}

impl Pipe {
    /// An empty one. Fails where the process may not have more open files.
    pub(super) fn take() -> io::Result<Self> {
        if let Some(pipe) = FREE.with_borrow_mut(Vec::pop) {
            return Ok(pipe);
        }
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        if let Err(error) = fcntl_setpipe_size(&write, SIZE) {
            tracing::debug!(%error, "a pipe keeps the size it has");
        }
        Ok(Self {
            read,
            write,
            held: 0,
        })
    }

    /// Gives it back. One that still holds bytes is closed: they were somebody's.
    pub(super) fn give(self) {
        FREE.with_borrow_mut(|free| {
            if free.len() < KEPT && self.held == 0 {
                free.push(self);
            }
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Fills it, empty, with what `from` has; 0 at the end of the stream.
    pub(super) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut impl Io,
    ) -> Poll<io::Result<usize>> {
        let Some(socket) = from.socket() else {
            return Poll::Ready(Err(io::ErrorKind::Unsupported.into()));
        };
        let moved = loop {
            ready!(socket.poll_read_ready(cx))?;
            let fill = || transfer(socket.as_fd(), self.write.as_fd(), SIZE);
            match socket.try_io(Interest::READABLE, fill) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                moved => break moved,
            }
        };
        from.passed(match &moved {
            Ok(n) => Passed::Read(*n),
            Err(error) => Passed::Failed(error),
        });
        self.held = *moved.as_ref().unwrap_or(&0);
        Poll::Ready(moved)
    }

    /// Moves some of what it holds to `to`.
    pub(super) fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut impl Io,
    ) -> Poll<io::Result<usize>> {
        let Some(socket) = to.socket() else {
            return Poll::Ready(Err(io::ErrorKind::Unsupported.into()));
        };
        let moved = loop {
            ready!(socket.poll_write_ready(cx))?;
            let drain = || transfer(self.read.as_fd(), socket.as_fd(), self.held);
            match socket.try_io(Interest::WRITABLE, drain) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                moved => break moved,
            }
        };
        to.passed(match &moved {
            Ok(n) => Passed::Written(*n),
            Err(error) => Passed::Failed(error),
        });
        self.held -= *moved.as_ref().unwrap_or(&0);
        Poll::Ready(moved)
    }
}

fn transfer(from: BorrowedFd<'_>, to: BorrowedFd<'_>, most: usize) -> io::Result<usize> {
    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
    loop {
        match splice(from, None, to, None, most, flags) {
            Err(rustix::io::Errno::INTR) => {}
            moved => return Ok(moved?),
        }
    }
}
