//! Speaking to the kernel's `nf_tables`, with no program between.

use super::netlink::{self, Answer, Batch};
use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink as sockets, recv,
        send, socket_with, sockopt,
    },
};
use std::{io, time::Duration};

/// The kernel answers while it is asked; longer than this it never takes.
const PATIENCE: Duration = Duration::from_secs(10);
/// An answer quotes no more than what was asked for.
const MAX_REPLY: usize = 64 * 1024;

/// Why the kernel did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum KernelError {
    #[error("cannot speak to it: {0}")]
    Socket(#[from] io::Error),
    #[error("{ask}: {source}")]
    Refused { ask: String, source: io::Error },
}

impl KernelError {
    /// What the system said.
    fn source(&self) -> &io::Error {
        match self {
            Self::Socket(source) | Self::Refused { source, .. } => source,
        }
    }

    /// Whether it is for want of a capability.
    pub(super) fn is_permission(&self) -> bool {
        self.source().kind() == io::ErrorKind::PermissionDenied
    }
}

/// Whether this kernel has `nf_tables`, loading it if it must be. Who may not ask cannot know, and
/// takes it to be there.
pub(super) fn has_nf_tables() -> bool {
    match tell(netlink::generation()) {
        Ok(()) => true,
        Err(error) => error.is_permission(),
    }
}

/// Has the kernel carry out a batch: all of it or nothing.
pub(super) fn tell(mut batch: Batch) -> Result<(), KernelError> {
    let said = |errno: Errno| io::Error::from(errno);
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(sockets::NETFILTER),
    )
    .map_err(said)?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(PATIENCE)).map_err(said)?;
    // Long lists of ports exceed what a socket takes at a time, if it may be told to take more.
    let _as_it_is = sockopt::set_socket_send_buffer_size_force(&socket, batch.bytes.len() * 2);
    send(&socket, &batch.bytes, SendFlags::empty()).map_err(said)?;
    let mut reply = vec![0; MAX_REPLY];
    loop {
        let (length, _) = recv(&socket, &mut reply[..], RecvFlags::empty()).map_err(said)?;
        match batch.answer(reply.get(..length).unwrap_or_default()) {
            Answer::Done => return Ok(()),
            Answer::More => {}
            Answer::Refused { ask, errno } => {
                let source = io::Error::from_raw_os_error(errno);
                return Err(KernelError::Refused { ask, source });
            }
        }
    }
}
