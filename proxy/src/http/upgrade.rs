//! HTTP/1.1 upgrades and CONNECT: once both sides agreed, bytes are copied both ways.
//!
//! [`crate::http::server`] does all of it: a service only has to forward the request to its peer
//! with its headers as they are (see [`is_upgrade`]) and return the peer's response with its
//! extensions.

use http::Request;

/// Whether the request asks to leave HTTP: CONNECT, or `Upgrade` on HTTP/1.1 (`h2c` excepted).
/// Such a request must be sent on an HTTP/1 connection of its own.
pub fn is_upgrade<B>(_request: &Request<B>) -> bool {
    todo!()
}
