//! Listening sockets that a process hands to the one that is started in its place.
//!
//! Several processes of one user may listen at one address (`SO_REUSEPORT`), and a program of one
//! instruction, attached to their sockets, tells the kernel which of them gets new connections:
//!
//! ```text
//! one listens, at place 0
//! another is started: it listens at place 1, and points the kernel to place 0
//! it is ready: it points the kernel to place 1                               Listener::take
//! the first is told to stop: it serves what had come to it, then closes      Listener::next
//! the other moves to place 0; place 1 is empty, so the kernel takes who is left
//! ```
//!
//! Whoever goes first, no connection is refused and none is lost in a queue: a first process that
//! stops early leaves the queue of the second to wait in, and a second that fails leaves the first
//! alone again. See `SO_ATTACH_REUSEPORT_CBPF` in socket(7).

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use nix::{
    libc,
    sys::socket::{setsockopt, sockopt::AttachReusePortCbpf},
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Instant, timeout_at},
};

use super::{BACKLOG, accept, annotate, bound, listen_addr};
use crate::drain::Drain;

/// A listening socket that can be taken over, or take over.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    /// Another process listened here before.
    successor: bool,
    /// When nothing more is accepted.
    leaving: Option<Instant>,
}

/// Where a process stands among those that listen at one address.
#[derive(Clone, Copy)]
enum Place {
    First = 0,
    Second = 1,
}

/// A queue that stayed empty for this long has no connection on its way to it.
const QUIET: Duration = Duration::from_millis(100);

/// Where nobody takes over, connections keep coming.
const LEAVING: Duration = Duration::from_secs(1);

impl Listener {
    /// Listens at [`listen_addr`] of `addr`, beside a process of the same user that does already.
    /// New connections are left to that one until [`Listener::take`]. The error names the address.
    pub async fn bind(addr: SocketAddr) -> io::Result<Self> {
        let addr = listen_addr(addr);
        Self::listen(addr).map_err(|error| annotate(error, &format!("cannot listen on {addr}")))
    }

    fn listen(addr: SocketAddr) -> io::Result<Self> {
        let successor = is_taken(addr)?;
        let socket = bound(addr, true)?.listen(BACKLOG)?;
        if successor {
            send_to(socket.as_fd(), Place::First)?;
        }
        Ok(Self {
            socket,
            successor,
            leaving: None,
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Whether another process listened here when this one began to.
    pub fn succeeds(&self) -> bool {
        self.successor
    }

    /// From now on new connections come here.
    pub fn take(&self) {
        if self.successor {
            self.prefer(Place::Second);
        }
    }

    /// As [`Listener::take`], for who accepts by other means.
    pub fn into_taken(self) -> TcpListener {
        self.take();
        self.socket
    }

    /// The next connection; once draining has started, what had come before it, then `None`. The
    /// listener is to be dropped then.
    pub async fn next(&mut self, drain: &Drain) -> Option<(TcpStream, SocketAddr)> {
        let leaving = match self.leaving {
            Some(leaving) => leaving,
            None => tokio::select! {
                biased;
                () = drain.started() => self.leave(),
                accepted = accept(&self.socket) => return Some(accepted),
            },
        };
        let quiet = leaving.min(Instant::now() + QUIET);
        timeout_at(quiet, accept(&self.socket)).await.ok()
    }

    /// As [`Listener::next`], until the drain's very end.
    pub async fn next_to_the_last(&mut self, drain: &Drain) -> Option<(TcpStream, SocketAddr)> {
        tokio::select! {
            accepted = accept(&self.socket) => Some(accepted),
            () = drain.aborted() => None,
        }
    }

    fn leave(&mut self) -> Instant {
        // A successor that is not ready is still the better place to wait.
        self.prefer(Place::Second);
        *self.leaving.insert(Instant::now() + LEAVING)
    }

    fn prefer(&self, place: Place) {
        if let Err(error) = send_to(self.socket.as_fd(), place) {
            // The kernel then spreads connections over all that listen, which is what is lost.
            tracing::warn!(%error, "cannot say which process gets new connections");
        }
    }
}

/// Whether a process listens at `addr`.
fn is_taken(addr: SocketAddr) -> io::Result<bool> {
    if addr.port() == 0 {
        return Ok(false);
    }
    match bound(addr, false) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(true),
        free => free.map(|_| false),
    }
}

/// Has the kernel give new connections to the socket at `place`, or to any if none is there.
fn send_to(socket: BorrowedFd<'_>, place: Place) -> io::Result<()> {
    let mut program = [libc::sock_filter {
        code: (libc::BPF_RET | libc::BPF_K) as u16,
        jt: 0,
        jf: 0,
        k: place as u32,
    }];
    let program = libc::sock_fprog {
        len: 1,
        filter: program.as_mut_ptr(),
    };
    Ok(setsockopt(&socket, AttachReusePortCbpf, &program)?)
}

#[cfg(test)]
mod tests;
