//! Sockets and names, and the one place that knows the rules of the `loopback` network.
//!
//! In that network (a cluster on one machine, see `contract::env::LOOPBACK_POD_IP`) a pod is an
//! address in 127.0.0.0/8 shared with the whole machine, so every listener must bind it and every
//! connection must come from it. Everywhere else these functions are ordinary sockets. All rooms
//! bind, accept, resolve and dial through here.

mod dial;
mod handover;
mod resolve;

pub use dial::{dial, dial_any};
pub use handover::Listener;
pub use resolve::{Resolver, literal};

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::OnceLock,
    time::Duration,
};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// The pod's address in the `loopback` network; `None` elsewhere. Read once.
pub fn loopback() -> Option<IpAddr> {
    static POD_IP: OnceLock<Option<IpAddr>> = OnceLock::new();
    *POD_IP.get_or_init(|| {
        let text = std::env::var(mesh_contract::env::LOOPBACK_POD_IP).ok()?;
        match text.parse::<IpAddr>() {
            Ok(ip) if ip.is_loopback() => Some(ip),
            _ => {
                let name = mesh_contract::env::LOOPBACK_POD_IP;
                tracing::error!("{name} is {text:?}, which is no loopback address; it is ignored");
                None
            }
        }
    })
}

/// Where to listen when asked to listen on `addr`: in the `loopback` network at the pod's address.
pub fn listen_addr(addr: SocketAddr) -> SocketAddr {
    loopback().map_or(addr, |pod| SocketAddr::new(pod, addr.port()))
}

/// Connections the kernel keeps for a listener that is busy; `net.core.somaxconn` caps it. The 128
/// that runtimes ask for overflow when a failover sends everything in flight to one place at once,
/// and a connection that finds the queue full waits a second for its SYN to be sent again.
const BACKLOG: u32 = 4096;

/// Binds [`listen_addr`]. The error names the address.
pub async fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    let addr = listen_addr(addr);
    listen(addr).map_err(|error| annotate(error, &format!("cannot listen on {addr}")))
}

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    bound(addr, false)?.listen(BACKLOG)
}

/// A socket at an address that no other listens at, or, `shared`, none of another user's.
fn bound(addr: SocketAddr, shared: bool) -> io::Result<TcpSocket> {
    let socket = socket_for(addr)?;
    // A restart must not wait for the connections of the process before it to time out.
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(shared)?;
    socket.bind(addr)?;
    Ok(socket)
}

fn socket_for(addr: SocketAddr) -> io::Result<TcpSocket> {
    match addr {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }
}

/// Accepts the next connection, with TCP_NODELAY. Errors of `accept` itself (a client that was
/// gone before, too many open files) are logged and waited out: a listener outlives them.
pub async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((io, peer)) => {
                // Fails only when the peer is gone already, which the first read will tell.
                let _ = io.set_nodelay(true);
                return (io, peer);
            }
            Err(error) if concerns_one_connection(&error) => {
                tracing::debug!(%error, "a connection was gone before it was accepted");
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections, trying again");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Connects, in the `loopback` network from the pod's address. TCP_NODELAY is set.
pub async fn connect(addr: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    connect_from(loopback(), addr, timeout).await
}

async fn connect_from(
    source: Option<IpAddr>,
    addr: SocketAddr,
    timeout: Duration,
) -> io::Result<TcpStream> {
    let connecting = async {
        let socket = socket_for(addr)?;
        // From a loopback address only loopback addresses can be reached; anything else is
        // outside the devcluster and gets the machine's own source.
        let reaches = |ip: &IpAddr| addr.ip().is_loopback() && ip.is_ipv4() == addr.is_ipv4();
        if let Some(source) = source.filter(reaches) {
            socket.bind(SocketAddr::new(source, 0))?;
        }
        socket.set_nodelay(true)?;
        socket.connect(addr).await
    };
    let outcome = tokio::time::timeout(timeout, connecting).await;
    let outcome = outcome.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    outcome.map_err(|error| annotate(error, &format!("cannot connect to {addr}")))
}

fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

fn annotate(error: io::Error, what: &str) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test]
    async fn in_the_loopback_network_connections_come_from_the_pod() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let pod: IpAddr = "127.9.8.7".parse().unwrap();
        let io = connect_from(Some(pod), addr, SECOND).await.unwrap();
        let (_, peer) = accept(&listener).await;
        assert_eq!(peer.ip(), pod);
        assert_eq!(io.local_addr().unwrap(), peer);
        assert!(io.nodelay().unwrap());
    }

    #[tokio::test]
    async fn a_busy_listener_queues_more_than_a_runtimes_default() {
        let cap = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
        let burst = cap.trim().parse::<usize>().unwrap().min(400);
        let listener = bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let mut queued = Vec::new();
        while queued.len() < burst {
            queued.push(connect(addr, SECOND).await.unwrap());
        }
    }

    #[tokio::test]
    async fn a_refused_connection_names_the_address() {
        let addr = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        let error = connect(addr, SECOND).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(error.to_string().contains(&addr.to_string()), "{error}");
    }

    #[tokio::test]
    async fn a_taken_address_is_named() {
        let first = bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let addr = first.local_addr().unwrap();
        let error = bind(addr).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&addr.to_string()), "{error}");
    }
}
