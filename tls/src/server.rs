//! The server's side of a handshake.
//!
//! Called by the proxy's inbound side once it has sniffed a ClientHello for it, and by `control`.
//! It authorises nobody: who may do what is decided by who holds the peer's [`Verified`].

use crate::{Error, Store, Verified, resume::outlived};
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

/// How to accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accept {
    /// Whether to offer the transport header. Then a client that offers only other protocols is
    /// refused; one that offers none is accepted without.
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
    /// The client, if it proved who it is: the first DNS name or URI of its certificate.
    pub peer: Option<Verified>,
    /// Whether the client will send a transport header.
    pub transport_header: bool,
}

/// Handshakes with a client. A certificate is asked for, not demanded; one that does not verify
/// is refused.
pub async fn accept<I>(store: &Store, accept: Accept, io: I) -> Result<Accepted<I>, Error>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let (_, current) = store.credentials();
    let current = current.ok_or(Error::NotReady)?;
    let config = current.server(accept.transport_header);
    let accepting = TlsAcceptor::from(config).accept(io);
    let stream = tokio::time::timeout(accept.timeout, accepting)
        .await
        .map_err(|_| Error::Timeout)?
        .map_err(Error::Handshake)?;
    let (_, connection) = stream.get_ref();
    outlived(connection, SystemTime::now())?;
    Ok(Accepted {
        peer: Verified::client(connection),
        transport_header: connection.alpn_protocol() == Some(mesh_contract::transport::ALPN),
        stream,
    })
}
