//! The first thing known about a connection: whose it is and where it was going.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

use crate::{
    Error,
    config::{self, Tcp},
};

/// The ends of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addrs {
    /// Who connected.
    pub(super) client: SocketAddr,
    /// Where the client was going.
    pub(super) original: SocketAddr,
}

/// Looks at a connection just accepted and sets its options.
pub(super) fn accepted(
    io: &TcpStream,
    client: SocketAddr,
    config: &config::Inbound,
) -> Result<Addrs, Error> {
    set_options(io, config.accept)?;
    let addrs = Addrs {
        client: unmapped(client),
        original: original_destination(io)?,
    };
    if !config.ips.is_empty() && !config.ips.contains(&addrs.original.ip()) {
        return Err(Error::other(format!(
            "{} is not an address of this pod",
            addrs.original.ip()
        )));
    }
    Ok(addrs)
}

fn set_options(io: &TcpStream, tcp: Tcp) -> io::Result<()> {
    io.set_nodelay(true)?;
    let socket = SockRef::from(io);
    if let Some(idle) = tcp.keepalive {
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle))?;
    }
    #[cfg(target_os = "linux")]
    if let Some(timeout) = tcp.user_timeout {
        socket.set_tcp_user_timeout(Some(timeout))?;
    }
    Ok(())
}

/// Where the client was going before the redirection. Where nothing redirects (or nothing keeps
/// track of it) that is where it arrived.
fn original_destination(io: &TcpStream) -> io::Result<SocketAddr> {
    let local = io.local_addr()?;
    Ok(unmapped(redirected(io, local).unwrap_or(local)))
}

#[cfg(target_os = "linux")]
fn redirected(io: &TcpStream, local: SocketAddr) -> Option<SocketAddr> {
    let socket = SockRef::from(io);
    let original = match unmapped(local) {
        SocketAddr::V4(_) => socket.original_dst_v4(),
        SocketAddr::V6(_) => socket.original_dst_v6(),
    };
    original.ok()?.as_socket()
}

#[cfg(not(target_os = "linux"))]
fn redirected(_io: &TcpStream, _local: SocketAddr) -> Option<SocketAddr> {
    None
}

/// A v4 peer of a v6 listener is a v4 peer.
fn unmapped(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V6(ip) => ip.to_canonical(),
        ip => ip,
    };
    SocketAddr::new(ip, addr.port())
}
