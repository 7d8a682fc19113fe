//! Telling HTTP/1, HTTP/2 and everything else apart by the first bytes of a connection.
//!
//! Called by both halves on connections whose protocol nobody declared. Gives every byte it read
//! back in front of the stream, and decides nothing about policy.

use std::{io, time::Duration};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::{Instant, timeout_at},
};

use crate::{http::Version, io::Prefixed};

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
///
/// One read is enough for nearly everyone. Only a client whose first segment is the beginning of
/// an HTTP request line and shorter than any request line is waited for a little longer.
pub async fn detect<I: AsyncRead + Unpin>(
    mut io: I,
    timeout: Duration,
) -> io::Result<(Detected, Prefixed<I>)> {
    let start = Instant::now();
    let mut deadline = start + timeout;
    let mut bytes = BytesMut::with_capacity(CAPACITY);
    loop {
        let read = match timeout_at(deadline, io.read_buf(&mut bytes)).await {
            Ok(read) => read?,
            Err(_) if bytes.is_empty() => return Ok((Detected::Timeout, replay(bytes, io))),
            Err(_) => 0,
        };
        if read == 0 {
            let detected = match bytes.is_empty() {
                true => Detected::Empty,
                false => classify(&bytes),
            };
            return Ok((detected, replay(bytes, io)));
        }
        if !may_become_http(&bytes) {
            return Ok((classify(&bytes), replay(bytes, io)));
        }
        deadline = deadline.min(start + timeout.min(CONTINUATION));
    }
}

/// What `bytes`, the beginning of a connection, look like.
pub fn classify(bytes: &[u8]) -> Detected {
    if bytes.len() < SHORTEST {
        return Detected::NotHttp;
    }
    if bytes.starts_with(H2_PREFACE) {
        return Detected::Http(Version::H2);
    }
    let mut headers = [httparse::EMPTY_HEADER; 0];
    match httparse::Request::new(&mut headers).parse(bytes) {
        // Headers are not looked at: a request line is proof enough.
        Ok(_) | Err(httparse::Error::TooManyHeaders) => Detected::Http(Version::H1),
        Err(_) => Detected::NotHttp,
    }
}

/// Whether a first segment too short to be judged begins as a request does.
fn may_become_http(bytes: &[u8]) -> bool {
    bytes.len() < SHORTEST
        && !bytes.contains(&b'\r')
        && !bytes.contains(&b'\n')
        && METHODS.iter().any(|method| {
            let n = method.len().min(bytes.len());
            bytes[..n] == method[..n]
        })
}

fn replay<I>(bytes: BytesMut, io: I) -> Prefixed<I> {
    Prefixed::new(bytes.freeze(), io)
}

/// `GET / HTTP/1.1`: no request line is shorter.
const SHORTEST: usize = 14;
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0";
const METHODS: [&[u8]; 10] = [
    b"GET ",
    b"HEAD ",
    b"POST ",
    b"PUT ",
    b"DELETE ",
    b"CONNECT ",
    b"OPTIONS ",
    b"TRACE ",
    b"PATCH ",
    b"PRI ",
];
const CAPACITY: usize = 1024;
/// How long the rest of a split request line may take.
const CONTINUATION: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
