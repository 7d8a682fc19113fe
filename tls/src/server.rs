//! The server's side of a handshake.

use crate::{Error, Store, Verified};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// How to accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accept {
    /// Whether to offer the transport header.
    pub transport_header: bool,
    /// How long the handshake may take.
    pub timeout: Duration,
}

/// The server's end of a connection.
pub type ServerStream<I> = tokio_rustls::server::TlsStream<I>;

/// A connection after its handshake.
#[derive(Debug)]
pub struct Accepted<I> {
    /// Plaintext from here on.
    pub stream: ServerStream<I>,
    /// The client, if it proved who it is.
    pub peer: Option<Verified>,
    /// Whether the client will send a transport header.
    pub transport_header: bool,
}

/// Handshakes with a client. A certificate is asked for, not demanded.
pub async fn accept<I>(_store: &Store, _accept: Accept, _io: I) -> Result<Accepted<I>, Error>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    todo!()
}
