//! gRPC over mesh TLS: what the control plane serves and dials.

use crate::{Id, Store, Verified};
use futures::{Stream, future::BoxFuture};
use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};
use tonic::transport::{Channel, server::Connected};

/// A control-plane address and who must answer there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ControlAddr {
    /// DNS name or IP.
    pub host: String,
    /// Port.
    pub port: u16,
    /// The identity the server must prove.
    pub identity: Id,
}

/// Not `host:port`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not host:port")]
pub struct InvalidAddr(pub String);

impl ControlAddr {
    /// From `host:port` (a trailing dot of the host is kept).
    pub fn new(_addr: &str, _identity: Id) -> Result<Self, InvalidAddr> {
        todo!()
    }
}

/// How to reach a host and port: given by the process, so that this room knows no resolver.
pub type Dial = Arc<dyn Fn(String, u16) -> BoxFuture<'static, io::Result<TcpStream>> + Send + Sync>;

/// A lazy, reconnecting channel over mesh TLS. Waits for the store to be certified.
pub fn channel(_addr: ControlAddr, _store: Store, _dial: Dial) -> Channel {
    todo!()
}

/// A lazy, reconnecting channel in the clear; only for loopback addresses without a name.
pub fn plaintext_channel(_host: &str, _port: u16, _dial: Dial) -> Channel {
    todo!()
}

/// Who called; an extension of every request served from [`incoming`].
#[derive(Clone, Debug)]
pub struct ClientIdentity(pub Option<Verified>);

/// An accepted connection.
#[derive(Debug)]
pub struct ServerIo(crate::Accepted<TcpStream>);

impl Connected for ServerIo {
    type ConnectInfo = ClientIdentity;
    fn connect_info(&self) -> ClientIdentity {
        ClientIdentity(self.0.peer.clone())
    }
}

/// Accepts and handshakes; for `serve_with_incoming_shutdown`. Never ends, never yields an error.
pub fn incoming(
    _listener: TcpListener,
    _store: Store,
) -> impl Stream<Item = io::Result<ServerIo>> + Send + 'static {
    futures::stream::pending()
}

impl AsyncRead for ServerIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.stream).poll_read(cx, buf)
    }
}
impl AsyncWrite for ServerIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0.stream).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.stream).poll_shutdown(cx)
    }
}
