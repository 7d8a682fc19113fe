//! Ingress mode (`linkerd.io/inject: ingress`): the application is an ingress that chooses endpoints itself,
//! so that where its connections go says nothing. Its requests name their Service in
//! `l5d-dst-override`; those that do not, and connections that carry none, go where they were sent.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use http::{HeaderValue, Request, Response, uri::Authority};
use hyper::service::service_fn;
use mesh_contract::headers::DST_OVERRIDE;

use super::{
    Shared,
    accept::{self, to_addr, to_known},
};
use crate::{
    Drain, Error,
    detect::{Detected, detect},
    http::Body,
    io::{BoxIo, boxed},
};

/// Serves a connection the ingress made to `original`.
pub(super) async fn serve(
    shared: &Arc<Shared>,
    io: BoxIo,
    original: SocketAddr,
    drain: &Drain,
) -> Result<(), Error> {
    match detect(io, shared.config.outbound.detect_timeout).await? {
        (Detected::Http(version), io) => {
            let io = boxed(shared.metrics.outbound_accept(original).open(io));
            let service = service_fn({
                let shared = shared.clone();
                move |request| {
                    let shared = shared.clone();
                    async move { route(&shared, original, request).await }
                }
            });
            accept::http(shared, io, version, service, drain).await
        }
        (Detected::Empty, _) => Ok(()),
        (Detected::NotHttp | Detected::Timeout, io) => {
            accept::to_target(shared, boxed(io), original, drain).await
        }
    }
}

/// Answers a request for the Service it names, or for where it was sent.
async fn route(
    shared: &Shared,
    original: SocketAddr,
    mut request: Request<Body>,
) -> Result<Response<Body>, Error> {
    let Some(wanted) = request.headers_mut().remove(DST_OVERRIDE) else {
        return to_addr(shared, original, request).await;
    };
    let wrong = Error::BadRequest("l5d-dst-override is not host:port");
    let (host, port) = parse(&wanted).ok_or(wrong)?;
    if let Ok(ip) = host.parse::<IpAddr>() {
        return to_addr(shared, (ip, port).into(), request).await;
    }
    let found = shared.discovery.name(&host, port).await;
    let found = found.inspect_err(|error| shared.metrics.outbound_http_error(original, error))?;
    let target = found.ok_or_else(|| {
        Error::Fail(format!(
            "l5d-dst-override names {host}:{port}, which the control plane does not know"
        ))
    })?;
    to_known(shared, &target, request).await
}

/// A name (or address) and a port: 80, if none is said.
fn parse(value: &HeaderValue) -> Option<(String, u16)> {
    let authority = Authority::try_from(value.as_bytes()).ok()?;
    if authority.as_str().contains('@') {
        return None;
    }
    let port = match authority.port() {
        Some(port) => port.as_str().parse().ok().filter(|port| *port > 0)?,
        // One that is none is not told apart from none at all.
        None if !authority.as_str().ends_with(authority.host()) => return None,
        None => 80,
    };
    let host = authority.host();
    let host = host
        .strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .unwrap_or(host);
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    (!host.is_empty()).then_some((host, port))
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_override_is_a_host_and_perhaps_a_port() {
        let parse = |text: &str| super::parse(&text.parse().unwrap());
        let web = |port| Some(("web.default.svc.cluster.local".to_owned(), port));
        assert_eq!(parse("web.default.svc.cluster.local:8080"), web(8080));
        assert_eq!(parse("WEB.default.svc.cluster.local."), web(80));
        assert_eq!(parse("[::1]:80"), Some(("::1".to_owned(), 80)));
        for wrong in [
            "",
            "web:0",
            "web:99999",
            "user@web:80",
            "a b",
            "http://web/",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
