//! The explicit proxy mode of the `loopback` network, where nothing redirects connections:
//! applications name this listener as their HTTP proxy.
//!
//! Requests with an absolute target are rewritten to origin form, their host is resolved to an
//! address (a Service's: its cluster IP), and they join the ordinary path as if the application
//! had connected there. CONNECT does the same for any bytes. Off unless configured.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{Request, Response, header, uri::Authority};
use hyper::service::service_fn;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::{
    Shared,
    accept::{self, to_addr},
};
use crate::{
    Drain, Error,
    detect::{Detected, detect},
    http::{Body, orig_proto},
    io::{BoxIo, Prefixed, boxed},
};

const CONNECT: &[u8] = b"CONNECT ";
/// The head of a CONNECT request: a name, a port and what clients say of themselves.
const MAX_HEAD: usize = 8 * 1024;

/// Serves a connection made to this listener at `own`.
pub(super) async fn serve(
    shared: &Arc<Shared>,
    mut io: BoxIo,
    own: SocketAddr,
    drain: &Drain,
) -> Result<(), Error> {
    let limit = shared.config.outbound.detect_timeout;
    let mut bytes = BytesMut::with_capacity(1024);
    let is_connect = read_until(&mut io, &mut bytes, limit, starts_with_connect).await?;
    if is_connect == Some(true) {
        return tunnel(shared, io, bytes, own, drain).await;
    }
    let io = Prefixed::new(bytes.freeze(), io);
    match detect(io, limit).await? {
        (Detected::Http(version), io) => {
            let service = service_fn({
                let shared = shared.clone();
                move |request| {
                    let shared = shared.clone();
                    async move { answer(&shared, own, request).await }
                }
            });
            accept::http(shared, boxed(io), version, service, drain).await
        }
        (Detected::Empty, _) => Ok(()),
        (Detected::NotHttp | Detected::Timeout, _) => Err(Error::BadRequest(
            "this listener is an HTTP proxy; other protocols need CONNECT",
        )),
    }
}

fn starts_with_connect(bytes: &[u8]) -> Option<bool> {
    if bytes.len() >= CONNECT.len() {
        return Some(bytes.starts_with(CONNECT));
    }
    (!CONNECT.starts_with(bytes)).then_some(false)
}

/// Reads until `decided` says something; `None` if the client closed or said too much before.
async fn read_until<T>(
    io: &mut BoxIo,
    bytes: &mut BytesMut,
    limit: Duration,
    decided: impl Fn(&[u8]) -> Option<T>,
) -> Result<Option<T>, Error> {
    let read = async {
        loop {
            if let Some(decision) = decided(bytes) {
                return Ok(Some(decision));
            }
            if bytes.len() >= MAX_HEAD || io.read_buf(bytes).await? == 0 {
                return Ok(None);
            }
        }
    };
    timeout(limit, read)
        .await
        .map_err(|_| Error::DetectTimeout("HTTP", limit))?
}

// === CONNECT ===

async fn tunnel(
    shared: &Arc<Shared>,
    mut io: BoxIo,
    mut bytes: BytesMut,
    own: SocketAddr,
    drain: &Drain,
) -> Result<(), Error> {
    let limit = shared.config.outbound.http.header_timeout;
    let ends = |bytes: &[u8]| {
        bytes
            .windows(4)
            .position(|w| w == b"\r\n\r\n")
            .map(|i| i + 4)
    };
    let target = match read_until(&mut io, &mut bytes, limit, ends).await? {
        Some(end) => {
            let head = bytes.split_to(end);
            match connect_target(&head) {
                Some((host, port)) => resolve(shared, &host, port, own).await,
                None => Err(Error::BadRequest("CONNECT needs a host:port target")),
            }
        }
        None => Err(Error::BadRequest(
            "the head of the CONNECT request is too long",
        )),
    };
    match target {
        Ok(target) => {
            io.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
                .await?;
            let io = boxed(Prefixed::new(bytes.freeze(), io));
            accept::to_target(shared, io, target, drain).await
        }
        Err(error) => {
            io.write_all(&refusal(&error)).await?;
            io.shutdown().await?;
            Err(error)
        }
    }
}

fn connect_target(head: &[u8]) -> Option<(String, u16)> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    request.parse(head).ok()?.is_complete().then_some(())?;
    let authority: Authority = request.path?.parse().ok()?;
    let port = authority.port_u16().filter(|port| *port > 0)?;
    Some((host(&authority).to_owned(), port))
}

/// The answer to a CONNECT that goes nowhere; there is no HTTP connection yet that could say it.
fn refusal(error: &Error) -> Bytes {
    let status = match error {
        Error::BadRequest(_) => "400 Bad Request",
        _ => "502 Bad Gateway",
    };
    let text: String = error.to_string().replace(['\r', '\n'], " ");
    let head = format!(
        "HTTP/1.1 {status}\r\nl5d-proxy-error: {text}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    );
    head.into()
}

// === absolute-form requests ===

/// Answers a request whose target is absolute.
async fn answer(
    shared: &Shared,
    own: SocketAddr,
    request: Request<Body>,
) -> Result<Response<Body>, Error> {
    let ((host, port), request) = rewrite(request)?;
    let addr = resolve(shared, &host, port, own).await?;
    to_addr(shared, addr, request).await
}

/// The host and port a request is for, and the request as its server expects it.
fn rewrite(mut request: Request<Body>) -> Result<((String, u16), Request<Body>), Error> {
    if request.method() == http::Method::CONNECT {
        return Err(Error::BadRequest(
            "CONNECT must be the first request of a connection",
        ));
    }
    let uri = request.uri();
    let authority = uri.authority().cloned().ok_or(Error::BadRequest(
        "this listener is a proxy: the target must be absolute, as in http://host/path",
    ))?;
    if uri.scheme_str().is_some_and(|scheme| scheme != "http") {
        return Err(Error::BadRequest(
            "only http:// targets; https needs CONNECT",
        ));
    }
    let port = match authority.port() {
        Some(port) => port.as_u16(),
        // One that is none is not told apart from none at all.
        None if !authority.as_str().ends_with(authority.host()) => 0,
        None => 80,
    };
    if port == 0 {
        return Err(Error::BadRequest("the target's port is none"));
    }
    if request.version() < http::Version::HTTP_2 {
        // RFC 9112 §3.2.2: the target counts, whatever Host says.
        request.headers_mut().remove(header::HOST);
        orig_proto::origin_form(&mut request, false);
    }
    request.headers_mut().remove(header::PROXY_AUTHORIZATION);
    Ok(((host(&authority).to_owned(), port), request))
}

/// The host without the brackets of an IPv6 literal.
fn host(authority: &Authority) -> &str {
    let host = authority.host();
    host.strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .unwrap_or(host)
}

async fn resolve(
    shared: &Shared,
    host: &str,
    port: u16,
    own: SocketAddr,
) -> Result<SocketAddr, Error> {
    let resolved = shared.resolver.resolve(host).await;
    let addrs = resolved.map_err(|error| {
        Error::Fail(format!(
            "cannot resolve {host}: {error}; is there a Service of that name?"
        ))
    })?;
    let ip = addrs
        .first()
        .ok_or_else(|| Error::Fail(format!("{host} has no address")))?;
    let addr = SocketAddr::new(*ip, port);
    if addr == own {
        return Err(Error::Loop(addr));
    }
    Ok(addr)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absolute_target_becomes_an_address_and_origin_form() {
        let request = Request::builder()
            .uri("http://web.default.svc.cluster.local:8080/a?b=c")
            .header("host", "liar.example")
            .body(Body::empty())
            .unwrap();
        let ((host, port), request) = rewrite(request).unwrap();
        assert_eq!(host, "web.default.svc.cluster.local");
        assert_eq!(port, 8080);
        assert_eq!(request.uri(), "/a?b=c");
        assert_eq!(
            request.headers()["host"],
            "web.default.svc.cluster.local:8080"
        );
    }

    #[test]
    fn what_names_nobody_is_refused() {
        for uri in [
            "/relative",
            "https://web/",
            "http://web:0/",
            "http://web:99999/",
        ] {
            let request = Request::builder().uri(uri).body(Body::empty()).unwrap();
            assert!(
                matches!(rewrite(request), Err(Error::BadRequest(_))),
                "{uri}"
            );
        }
    }

    #[test]
    fn connect_heads_are_parsed_strictly() {
        let target = connect_target(b"CONNECT web.default:443 HTTP/1.1\r\nhost: x\r\n\r\n");
        assert_eq!(target, Some(("web.default".to_owned(), 443)));
        let target = connect_target(b"CONNECT [::1]:80 HTTP/1.1\r\n\r\n");
        assert_eq!(target, Some(("::1".to_owned(), 80)));
        assert_eq!(connect_target(b"CONNECT web HTTP/1.1\r\n\r\n"), None);
        assert_eq!(connect_target(b"CONNECT web:0 HTTP/1.1\r\n\r\n"), None);
        assert_eq!(connect_target(b"CONNECT \xff\r\n\r\n"), None);
        assert_eq!(starts_with_connect(b"CON"), None);
        assert_eq!(starts_with_connect(b"COPY"), Some(false));
    }
}
