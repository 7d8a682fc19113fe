//! The client's side of a handshake.

use crate::{Error, Id, Store, TrustAnchors, Verified};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Whom to reach.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// The identity the server must prove.
    pub server_id: Id,
    /// SNI, if it is not the identity's DNS name.
    pub server_name: Option<String>,
    /// Whether to offer the transport header.
    pub transport_header: bool,
}

/// A connection to a verified server.
#[derive(Debug)]
pub struct ClientStream<I>(tokio_rustls::client::TlsStream<I>);

impl<I> ClientStream<I> {
    /// Whether the server expects a transport header.
    pub fn transport_header(&self) -> bool {
        todo!()
    }
    /// The server's proven identity.
    pub fn server(&self) -> &Verified {
        todo!()
    }
}

/// Handshakes with our certificate. Bound it by a timeout.
pub async fn connect<I>(_store: &Store, _target: &Target, _io: I) -> Result<ClientStream<I>, Error>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    todo!()
}

/// Handshakes without a certificate of ours, as a process must that asks for its first one.
pub async fn connect_anonymous<I>(
    _anchors: &TrustAnchors,
    _target: &Target,
    _io: I,
) -> Result<ClientStream<I>, Error>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    todo!()
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncRead for ClientStream<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}
impl<I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ClientStream<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
