//! HTTP/1.1 upgrades and CONNECT: once both sides agreed, bytes are copied both ways.
//!
//! [`crate::http::server`] does all of it: a service only has to forward the request to its peer
//! with its headers as they are (see [`is_upgrade`]) and return the peer's response with its
//! extensions.

use std::sync::Arc;

use futures::future::BoxFuture;
use http::{Method, Request, Response, StatusCode, Version, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;

use crate::{Drain, io};

/// Whether the request asks to leave HTTP: CONNECT, or `Upgrade` on HTTP/1.1 (`h2c` excepted).
/// Such a request must be sent on an HTTP/1 connection of its own.
pub fn is_upgrade<B>(request: &Request<B>) -> bool {
    if request.version() != Version::HTTP_11 {
        return false;
    }
    if request.method() == Method::CONNECT {
        return true;
    }
    let headers = request.headers();
    if !headers.contains_key(header::UPGRADE) {
        return false;
    }
    let asked = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|name| name.trim().eq_ignore_ascii_case("upgrade"));
    // An upgrade to HTTP/2 would hide requests from policy; ignoring it is always allowed.
    let h2c = headers
        .get_all(header::UPGRADE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|name| name.trim().eq_ignore_ascii_case("h2c"));
    asked && !h2c
}

/// In a response's extensions: the tunnel it opens ends when this does.
#[derive(Clone)]
struct Until(Arc<Mutex<Option<BoxFuture<'static, ()>>>>);

/// The tunnel that `response` opens, if it opens one, ends with `end`, or with an end it was given
/// before.
pub fn end_with<B>(response: &mut Response<B>, end: impl Future<Output = ()> + Send + 'static) {
    let until: BoxFuture<'static, ()> = match take_end(response) {
        None => Box::pin(end),
        Some(before) => Box::pin(async move {
            tokio::select! {
                () = before => {}
                () = end => {}
            }
        }),
    };
    let until = Until(Arc::new(Mutex::new(Some(until))));
    response.extensions_mut().insert(until);
}

fn take_end<B>(response: &mut Response<B>) -> Option<BoxFuture<'static, ()>> {
    let until = response.extensions_mut().remove::<Until>()?;
    until.0.lock().take()
}

/// The client's half of an upgrade, waiting for its peer's.
pub(super) struct Pending {
    client: OnUpgrade,
    connect: bool,
}

/// Takes the client's half from a request that asks to upgrade.
pub(super) fn take<B>(request: &mut Request<B>) -> Option<Pending> {
    let client = request.extensions_mut().remove::<OnUpgrade>();
    if !is_upgrade(request) {
        return None;
    }
    Some(Pending {
        client: client?,
        connect: request.method() == Method::CONNECT,
    })
}

impl Pending {
    /// Starts copying if the peer agreed; returns whether it did.
    pub(super) fn finish<B>(self, response: &mut Response<B>, drain: &Drain) -> bool {
        let agreed = match self.connect {
            true => response.status().is_success(),
            false => response.status() == StatusCode::SWITCHING_PROTOCOLS,
        };
        if !agreed {
            return false;
        }
        if self.connect {
            let headers = response.headers_mut();
            headers.remove(header::CONTENT_LENGTH);
            headers.remove(header::TRANSFER_ENCODING);
        }
        let Some(peer) = response.extensions_mut().remove::<OnUpgrade>() else {
            return false;
        };
        let until = take_end(response).unwrap_or_else(|| Box::pin(std::future::pending()));
        tokio::spawn(tunnel(self.client, peer, until, drain.clone()));
        true
    }
}

async fn tunnel(client: OnUpgrade, peer: OnUpgrade, until: BoxFuture<'static, ()>, drain: Drain) {
    let _hold = drain.hold();
    let copied = async {
        let (client, peer) = tokio::try_join!(client, peer)?;
        let copied = io::duplex(TokioIo::new(client), TokioIo::new(peer)).await;
        copied.map_err(crate::http::body::BodyError::from)
    };
    tokio::select! {
        copied = copied => match copied {
            Ok((sent, received)) => tracing::debug!(sent, received, "upgraded connection ended"),
            Err(error) => tracing::debug!(%error, "upgraded connection failed"),
        },
        () = until => tracing::debug!("upgraded connection is not allowed any more"),
        () = drain.aborted() => tracing::debug!("upgraded connection cut by shutdown"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(version: Version, connection: &str, upgrade: &str) -> Request<()> {
        Request::builder()
            .version(version)
            .uri("/")
            .header("connection", connection)
            .header("upgrade", upgrade)
            .body(())
            .unwrap()
    }

    #[test]
    fn upgrades_are_known_by_both_headers() {
        assert!(is_upgrade(&request(
            Version::HTTP_11,
            "keep-alive, Upgrade",
            "websocket"
        )));
        assert!(!is_upgrade(&request(
            Version::HTTP_11,
            "keep-alive",
            "websocket"
        )));
        assert!(!is_upgrade(&request(
            Version::HTTP_10,
            "upgrade",
            "websocket"
        )));
        assert!(!is_upgrade(&request(
            Version::HTTP_11,
            "upgrade, http2-settings",
            "h2c"
        )));
    }
}
