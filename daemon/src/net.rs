//! Sockets and names, and the one place that knows the rules of the `loopback` network.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};
use tokio::net::{TcpListener, TcpStream};

/// The pod's address in the `loopback` network; `None` elsewhere.
pub fn loopback() -> Option<IpAddr> {
    todo!()
}
/// Where to listen when asked to listen on `addr`: in the `loopback` network at the pod's address.
pub fn listen_addr(_addr: SocketAddr) -> SocketAddr {
    todo!()
}
/// Binds [`listen_addr`].
pub async fn bind(_addr: SocketAddr) -> io::Result<TcpListener> {
    todo!()
}
/// Names to addresses. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Resolver;
impl Resolver {
    /// With `MESH_HOSTS_FILE`, if it is set.
    pub fn from_env() -> Self {
        todo!()
    }
    /// With this hosts file, if any.
    pub fn new(_hosts: Option<PathBuf>) -> Self {
        todo!()
    }
    /// IP literals, then the hosts file, then DNS. Never empty.
    pub async fn resolve(&self, _host: &str) -> io::Result<Vec<IpAddr>> {
        todo!()
    }
}
/// Connects, in the `loopback` network from the pod's address. TCP_NODELAY is set.
pub async fn connect(_addr: SocketAddr, _timeout: Duration) -> io::Result<TcpStream> {
    todo!()
}
/// Resolves and connects to the first address that answers; `timeout` is for each.
pub async fn dial(
    _resolver: &Resolver,
    _host: &str,
    _port: u16,
    _timeout: Duration,
) -> io::Result<TcpStream> {
    todo!()
}
