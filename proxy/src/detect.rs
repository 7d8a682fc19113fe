//! Telling HTTP/1, HTTP/2 and everything else apart by the first bytes of a connection.
//!
//! Called by both halves on connections whose protocol nobody declared. Reads once, gives every
//! byte back in front of the stream, and decides nothing about policy.

use std::{io, time::Duration};

use crate::{http::Version, io::Prefixed};
use tokio::io::AsyncRead;

/// What the first bytes look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detected {
    /// An HTTP connection.
    Http(Version),
    /// Bytes that are not HTTP.
    NotHttp,
    /// Nothing within the timeout; a protocol in which the server speaks first.
    Timeout,
    /// The client closed without a byte.
    Empty,
}

/// Waits for the first bytes and says what they are; `io` is returned with them in front.
pub async fn detect<I: AsyncRead + Unpin>(
    _io: I,
    _timeout: Duration,
) -> io::Result<(Detected, Prefixed<I>)> {
    todo!()
}

/// What `bytes`, the beginning of a connection, look like.
pub fn classify(_bytes: &[u8]) -> Detected {
    todo!()
}
