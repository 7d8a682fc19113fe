//! The client's side of a handshake.
//!
//! Called by the proxy for endpoints and gateways, and by `control` for the control plane. It
//! bounds no time: callers count the handshake into their connect timeout.

use crate::{
    Error, Id, Store, TrustAnchors, Verified,
    resume::outlived,
    store::{Current, client_config},
    verify::WrongServer,
};
use rustls::CertificateError;
use rustls_pki_types::ServerName;
use std::{io, net::SocketAddr, time::SystemTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Whom to reach.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// The identity the server must prove.
    pub server_id: Id,
    /// SNI, if it is not the identity's DNS name. Needed where the identity is a URI.
    pub server_name: Option<String>,
    /// Whether to offer the transport header.
    pub transport_header: bool,
}

/// A connection to a verified server.
#[derive(Debug)]
pub struct ClientStream<I> {
    io: TlsStream<I>,
    server: Verified,
    transport_header: bool,
}

impl<I> ClientStream<I> {
    /// Whether the server expects a transport header; never without it having been offered.
    pub fn transport_header(&self) -> bool {
        self.transport_header
    }

    /// The server's proven identity.
    pub fn server(&self) -> &Verified {
        &self.server
    }
}

/// Handshakes with our certificate. Bound it by a timeout.
///
/// In TLS 1.3 the server judges our certificate after this has returned: its refusal shows as an
/// error of the first read.
pub async fn connect<I>(store: &Store, target: &Target, io: I) -> Result<ClientStream<I>, Error>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let (anchors, current) = store.credentials();
    let current = current.ok_or(Error::NotReady)?;
    handshake(&anchors, Some(&current), target, None, io).await
}

/// As [`connect`], and with a session of an earlier connection to `peer`, if there is one: `io` is
/// connected to that address.
pub async fn reconnect<I>(
    store: &Store,
    target: &Target,
    peer: SocketAddr,
    io: I,
) -> Result<ClientStream<I>, Error>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let (anchors, current) = store.credentials();
    let current = current.ok_or(Error::NotReady)?;
    handshake(&anchors, Some(&current), target, Some(peer), io).await
}

/// Handshakes without a certificate of ours, as a process must that asks for its first one.
pub async fn connect_anonymous<I>(
    anchors: &TrustAnchors,
    target: &Target,
    io: I,
) -> Result<ClientStream<I>, Error>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    handshake(anchors, None, target, None, io).await
}

async fn handshake<I>(
    anchors: &TrustAnchors,
    current: Option<&Current>,
    target: &Target,
    peer: Option<SocketAddr>,
    io: I,
) -> Result<ClientStream<I>, Error>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let server_name = server_name(target)?;
    let config = client_config(anchors, current, target, peer)
        .map_err(|error| Error::Handshake(io::Error::other(error)))?;
    let connecting = TlsConnector::from(config).connect(server_name, io);
    let io = connecting.await.map_err(blame)?;
    let (_, connection) = io.get_ref();
    outlived(connection, SystemTime::now())?;
    Ok(ClientStream {
        server: Verified::server(connection, target.server_id.clone()),
        transport_header: connection.alpn_protocol() == Some(mesh_contract::transport::ALPN),
        io,
    })
}

fn server_name(target: &Target) -> Result<ServerName<'static>, Error> {
    let name = match (&target.server_name, &target.server_id) {
        (Some(name), _) => name.clone(),
        (None, Id::Dns(name)) => name.to_string(),
        (None, Id::Uri(_)) => return Err(Error::ServerName(target.server_id.to_string())),
    };
    match ServerName::try_from(name.clone()) {
        Ok(name @ ServerName::DnsName(_)) => Ok(name),
        _ => Err(Error::ServerName(name)),
    }
}

/// Finds our own verdict in what rustls reports.
fn blame(error: io::Error) -> Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    if let Some(rustls::Error::InvalidCertificate(CertificateError::Other(other))) = inner
        && let Some(wrong) = other.0.downcast_ref::<WrongServer>()
    {
        return Error::WrongIdentity {
            expected: wrong.expected.clone(),
            found: wrong.found.iter().map(Id::to_string).collect(),
        };
    }
    Error::Handshake(error)
}

crate::read_through!(ClientStream, TlsStream<I>);
crate::write_through!(ClientStream, TlsStream<I>);
