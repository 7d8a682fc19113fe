//! The admin server on 4191: liveness, readiness, metrics, log level, shutdown.
//!
//! Routes only; [`crate::inbound`] accepts the connections, authorises requests like those for any
//! port of the workload and calls [`Admin::handle`], also for requests that came through the mesh.
//! What changes the process, or tells its environment, is for the pod itself.

use std::{net::SocketAddr, sync::Arc};

use http::{Method, StatusCode};
use mesh_daemon::{
    Trigger,
    admin::{Admin, Peer, Request, Response, respond},
    readiness::Readiness,
    telemetry,
};

use crate::{Runtime, outbound::Outbound};

/// Everything the admin server answers.
pub fn admin(
    runtime: &Runtime,
    outbound: Outbound,
    readiness: Readiness,
    trigger: Trigger,
) -> Admin {
    let metrics = runtime.metrics.clone();
    let store = runtime.store.clone();
    let config = runtime.config.clone();
    let directives = runtime.directives.clone();
    Admin::new(readiness, runtime.metrics.take_registry())
        .metrics_source(Arc::new(move || metrics.render()))
        .state(
            "identity",
            Arc::new(move || {
                let expiry = store.expiry().and_then(|expiry| {
                    let since = expiry.duration_since(std::time::UNIX_EPOCH).ok()?;
                    Some(since.as_secs())
                });
                serde_json::json!({
                    "id": store.id().as_str(),
                    "certified": store.is_ready(),
                    "expires": expiry,
                    // SHA-256 of each certificate; `mesh check --proxy` compares them.
                    "issuer": store.issuer(),
                    "trust_anchors": store.anchors().fingerprints(),
                })
            }),
        )
        .state("directives", Arc::new(move || directives.state()))
        .state("outbound", Arc::new(move || outbound.state()))
        .route(Arc::new(move |request| {
            let restricted: fn(&Request, &Trigger) -> Response = match request.uri().path() {
                "/proxy-log-level" => log_level,
                "/env.json" => env,
                "/shutdown" if config.admin.shutdown_endpoint => shutdown,
                _ => return None,
            };
            let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
            let own = peer.is_some_and(|peer| is_own(peer, config.loopback));
            Some(match own {
                true => restricted(request, &trigger),
                false => text(StatusCode::FORBIDDEN, "only from inside the pod\n"),
            })
        }))
}

/// Whether a request comes from inside the pod. In the `loopback` network other pods have loopback
/// addresses too.
fn is_own(peer: SocketAddr, pod: Option<std::net::IpAddr>) -> bool {
    let ip = peer.ip().to_canonical();
    match pod {
        Some(pod) => ip == pod || ip == std::net::IpAddr::from([127, 0, 0, 1]),
        None => ip.is_loopback(),
    }
}

fn log_level(request: &Request, _trigger: &Trigger) -> Response {
    let Some(handle) = telemetry::handle() else {
        return text(StatusCode::NOT_FOUND, "this process has no log level\n");
    };
    match *request.method() {
        Method::GET => text(StatusCode::OK, format!("{}\n", handle.current())),
        Method::PUT => match std::str::from_utf8(request.body()) {
            Ok(filter) => match handle.set(filter.trim()) {
                Ok(()) => text(StatusCode::NO_CONTENT, ""),
                Err(error) => text(StatusCode::BAD_REQUEST, format!("{error}\n")),
            },
            Err(_) => text(StatusCode::BAD_REQUEST, "not a log filter\n"),
        },
        _ => text(StatusCode::METHOD_NOT_ALLOWED, "GET or PUT\n"),
    }
}

/// Variables asked for in the query (`?A&B`), or all of the proxy's.
fn env(request: &Request, _trigger: &Trigger) -> Response {
    if *request.method() != Method::GET {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
    }
    let asked = request.uri().query().filter(|query| !query.is_empty());
    let vars: serde_json::Map<String, serde_json::Value> = match asked {
        Some(query) => query
            .split('&')
            .map(|key| (key.to_owned(), std::env::var(key).ok().into()))
            .collect(),
        None => std::env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
            .map(|(key, value)| (key, value.into()))
            .collect(),
    };
    let body = format!("{:#}\n", serde_json::Value::Object(vars));
    respond(StatusCode::OK, "application/json", body)
}

fn shutdown(request: &Request, trigger: &Trigger) -> Response {
    if *request.method() != Method::POST {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only POST\n");
    }
    tracing::info!("shutdown asked for on the admin server");
    trigger.shutdown();
    text(StatusCode::OK, "shutdown\n")
}

fn text(status: StatusCode, body: impl Into<bytes::Bytes>) -> Response {
    respond(status, "text/plain", body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_the_loopback_network_a_neighbour_is_not_the_pod() {
        let pod = "127.1.0.7".parse().ok();
        let peer = |ip: &str| SocketAddr::new(ip.parse().unwrap(), 1);
        assert!(is_own(peer("127.1.0.7"), pod));
        assert!(is_own(peer("127.0.0.1"), pod));
        assert!(!is_own(peer("127.1.0.8"), pod));
        assert!(is_own(peer("::ffff:127.0.0.1"), None));
        assert!(!is_own(peer("10.0.0.1"), None));
    }
}
