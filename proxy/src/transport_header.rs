//! The transport header: the first bytes inside mesh TLS on a direct connection, telling the
//! receiving proxy which port (and, at a gateway, which name) the client means.
//!
//! The outbound half writes it ([`Header::encode`]), the direct inbound stack reads it
//! ([`read`]). The decoder accepts hostile bytes: it is total, never holds more than
//! [`MAX_HEADER`] bytes of them, and never reads past the header.

use std::io;

use bytes::Bytes;
use mesh_contract::transport::MAX_HEADER;
use tokio::io::AsyncRead;

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
    Io(#[from] io::Error),
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

impl Header {
    /// The bytes to write before anything else: preface, length, message.
    pub fn encode(&self) -> Bytes {
        todo!()
    }

    /// Decodes the message (what follows the length).
    pub fn decode_message(_message: &[u8]) -> Result<Self, Error> {
        todo!()
    }
}

/// Reads one header and not a byte more. Bound the time around it.
pub async fn read<I: AsyncRead + Unpin>(_io: &mut I) -> Result<Header, Error> {
    todo!()
}
