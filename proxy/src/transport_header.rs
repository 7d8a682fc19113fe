//! The transport header: the first bytes inside mesh TLS on a direct connection, telling the
//! receiving proxy which port (and, at a gateway, which name) the client means.
//!
//! The outbound half writes it ([`Header::encode`]), the direct inbound stack reads it
//! ([`read`]). The decoder accepts hostile bytes: it is total, never holds more than
//! [`MAX_HEADER`] bytes of them, and never reads past the header.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use mesh_contract::transport::{MAX_HEADER, PREFACE};
use prost::Message;
use tokio::io::{AsyncRead, AsyncReadExt};

/// What the client wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The port of the workload, or of the named service.
    pub port: u16,
    /// The name a gateway should route to; `None` means this proxy's own workload.
    pub name: Option<String>,
    /// How the bytes that follow are framed; `None` means opaque.
    pub session: Option<Session>,
}

/// The framing of the bytes after the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Session {
    /// HTTP/1.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
}

/// Why bytes are not a transport header.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection broke while reading.
    #[error("reading the transport header: {0}")]
    Io(#[source] io::Error),
    /// The client went away before it was done.
    #[error("the client closed the connection before it sent a transport header")]
    Closed,
    /// The fixed first bytes are not there.
    #[error("the connection does not start with a transport header")]
    NoPreface,
    /// The announced length is more than a header can need.
    #[error("the transport header claims {0} bytes; at most {MAX_HEADER} are accepted")]
    TooLong(u32),
    /// The message is not what its length says, or not protobuf.
    #[error("the transport header is malformed")]
    Malformed,
    /// The port is zero, negative or above 65535.
    #[error("the transport header names port {0}")]
    Port(i64),
    /// The name is not a DNS name.
    #[error("the transport header's name is not a DNS name")]
    Name,
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Closed,
            _ => Self::Io(error),
        }
    }
}

impl Header {
    /// The bytes to write before anything else: preface, length, message.
    pub fn encode(&self) -> Bytes {
        let message = wire::Header {
            port: i32::from(self.port),
            name: self.name.clone().unwrap_or_default(),
            session_protocol: self.session.map(|session| wire::SessionProtocol {
                kind: Some(match session {
                    Session::Http1 => wire::Kind::Http1(wire::Empty {}),
                    Session::Http2 => wire::Kind::Http2(wire::Empty {}),
                }),
            }),
        };
        let len = message.encoded_len();
        let mut out = BytesMut::with_capacity(PREFACE.len() + LENGTH + len);
        out.put_slice(PREFACE);
        // A name is at most 253 bytes, so this never truncates.
        out.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
        out.put_slice(&message.encode_to_vec());
        out.freeze()
    }

    /// Decodes the message (what follows the length).
    pub fn decode_message(message: &[u8]) -> Result<Self, Error> {
        let header = wire::Header::decode(message).map_err(|_| Error::Malformed)?;
        let port = u16::try_from(header.port)
            .ok()
            .filter(|port| *port != 0)
            .ok_or(Error::Port(i64::from(header.port)))?;
        let session = header
            .session_protocol
            .and_then(|protocol| protocol.kind)
            .map(|kind| match kind {
                wire::Kind::Http1(_) => Session::Http1,
                wire::Kind::Http2(_) => Session::Http2,
            });
        Ok(Self {
            port,
            name: dns_name(&header.name)?,
            session,
        })
    }
}

/// Reads one header and not a byte more. Bound the time around it.
pub async fn read<I: AsyncRead + Unpin>(io: &mut I) -> Result<Header, Error> {
    let mut start = [0u8; PREFACE.len() + LENGTH];
    let mut have = 0;
    while have < start.len() {
        let n = io.read(&mut start[have..]).await?;
        // Whoever speaks something else is told so by the first wrong byte, not by a timeout.
        let known = (have + n).min(PREFACE.len());
        if start[..known] != PREFACE[..known] {
            return Err(Error::NoPreface);
        }
        if n == 0 {
            return Err(Error::Closed);
        }
        have += n;
    }
    let mut length = [0u8; LENGTH];
    length.copy_from_slice(&start[PREFACE.len()..]);
    let length = u32::from_be_bytes(length);
    let Some(len) = usize::try_from(length).ok().filter(|n| *n <= MAX_HEADER) else {
        return Err(Error::TooLong(length));
    };
    let mut message = [0u8; MAX_HEADER];
    io.read_exact(&mut message[..len]).await?;
    Header::decode_message(&message[..len])
}

/// The name in lower case and without a trailing dot; empty means none.
fn dns_name(name: &str) -> Result<Option<String>, Error> {
    if name.is_empty() {
        return Ok(None);
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.len() > 253 || !name.split('.').all(label) {
        return Err(Error::Name);
    }
    Ok(Some(name.to_ascii_lowercase()))
}

const LENGTH: usize = 4;

/// The message as it is on the wire.
mod wire {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Header {
        #[prost(int32, tag = "1")]
        pub(super) port: i32,
        #[prost(string, tag = "2")]
        pub(super) name: String,
        #[prost(message, optional, tag = "3")]
        pub(super) session_protocol: Option<SessionProtocol>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct SessionProtocol {
        #[prost(oneof = "Kind", tags = "1, 2")]
        pub(super) kind: Option<Kind>,
    }

    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(super) enum Kind {
        #[prost(message, tag = "1")]
        Http1(Empty),
        #[prost(message, tag = "2")]
        Http2(Empty),
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Empty {}
}

#[cfg(test)]
mod tests;
