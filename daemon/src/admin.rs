//! The admin server: `/live`, `/ready`, `/metrics` and `/state`, and what a room adds.
//!
//! Every process builds one [`Admin`], binds it first and serves it for its whole life, so that a
//! process that cannot start can still say why it is not ready. It answers in the clear and
//! changes nothing by itself; a room that adds routes decides who may call them by [`Peer`].

mod compress;

use crate::{Shutdown, readiness::Readiness};
use bytes::Bytes;
use http::{Method, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::{encoding::text, registry::Registry};
use std::{
    collections::HashMap, convert::Infallible, fmt, io, net::SocketAddr, sync::Arc, time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    task::JoinSet,
};

/// A request, its (bounded) body read. The client's address is the extension [`Peer`].
pub type Request = http::Request<Bytes>;
/// An answer.
pub type Response = http::Response<Full<Bytes>>;
/// Produces one section of `/state`.
pub type StateFn = Arc<dyn Fn() -> serde_json::Value + Send + Sync>;
/// Produces metrics in text, written before the registry's.
pub type MetricsFn = Arc<dyn Fn() -> String + Send + Sync>;
/// A further route: `None` passes on to the next.
pub type RouteFn = Arc<dyn Fn(&Request) -> Option<Response> + Send + Sync>;

/// Extension of every [`Request`]: who asks.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// What the admin server answers. Cheap to clone.
#[derive(Clone)]
pub struct Admin {
    readiness: Readiness,
    registry: Arc<Registry>,
    states: Vec<(&'static str, StateFn)>,
    metrics: Vec<MetricsFn>,
    routes: Vec<RouteFn>,
    /// For a request's headers, and again for its body.
    timeout: Duration,
}

/// A bound admin server.
pub struct Bound {
    admin: Admin,
    listener: TcpListener,
    addr: SocketAddr,
}

/// Admin requests are commands and probes: whoever is slower or longer is not one.
const TIMEOUT: Duration = Duration::from_secs(5);
const MAX_BODY: usize = 64 * 1024;
const MAX_CONNECTIONS: usize = 256;
/// Of one address, so that nobody can keep the kubelet's probes out.
const MAX_OF_ONE_PEER: usize = 32;

impl Admin {
    /// An admin server with the routes every process has.
    pub fn new(readiness: Readiness, registry: Registry) -> Self {
        Self {
            readiness,
            registry: Arc::new(registry),
            states: Vec::new(),
            metrics: Vec::new(),
            routes: Vec::new(),
            timeout: TIMEOUT,
        }
    }

    /// Adds a section to `/state`.
    pub fn state(mut self, name: &'static str, f: StateFn) -> Self {
        self.states.push((name, f));
        self
    }

    /// Adds text to `/metrics`; it must end with a newline and not with `# EOF`.
    pub fn metrics_source(mut self, f: MetricsFn) -> Self {
        self.metrics.push(f);
        self
    }

    /// Adds a route, asked before the common ones.
    pub fn route(mut self, f: RouteFn) -> Self {
        self.routes.push(f);
        self
    }

    /// Answers one request; for servers that have their own way of accepting.
    pub fn handle(&self, request: &Request) -> Response {
        if let Some(response) = self.routes.iter().find_map(|route| route(request)) {
            return response;
        }
        let answer = match request.uri().path() {
            "/live" => (StatusCode::OK, "text/plain", "live\n".to_owned()),
            "/ready" => self.answer_ready(),
            "/metrics" => self.answer_metrics(),
            "/state" => self.answer_state(),
            _ => return respond(StatusCode::NOT_FOUND, "text/plain", "not found\n"),
        };
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return respond(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET\n");
        }
        let response = |body: Bytes| respond(answer.0, answer.1, body);
        let body = Bytes::from(answer.2);
        match compress::gzip(request.headers(), &body) {
            Some(compressed) => compress::encoded(response(compressed)),
            None => response(body),
        }
    }

    /// Binds (see [`crate::net::bind`]).
    pub async fn bind(self, addr: SocketAddr) -> io::Result<Bound> {
        let listener = crate::net::bind(addr).await?;
        let addr = listener.local_addr()?;
        Ok(Bound {
            admin: self,
            listener,
            addr,
        })
    }

    /// Serves one connection (HTTP/1.1) until it ends; `peer` is told to the routes.
    pub async fn serve_connection<I>(&self, io: I, peer: SocketAddr)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let admin = self.clone();
        let service = service_fn(move |request: http::Request<Incoming>| {
            let admin = admin.clone();
            async move { Ok::<_, Infallible>(admin.read_and_handle(request, peer).await) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.timeout)
            .max_buf_size(32 * 1024)
            .serve_connection(TokioIo::new(io), service);
        if let Err(error) = connection.await {
            tracing::debug!(%peer, %error, "admin connection ended");
        }
    }

    async fn read_and_handle(
        &self,
        request: http::Request<Incoming>,
        peer: SocketAddr,
    ) -> Response {
        let (parts, body) = request.into_parts();
        let body = Limited::new(body, MAX_BODY).collect();
        let Ok(Ok(body)) = tokio::time::timeout(self.timeout, body).await else {
            return respond(
                StatusCode::BAD_REQUEST,
                "text/plain",
                "the body is too long or too slow\n",
            );
        };
        let mut request = Request::from_parts(parts, body.to_bytes());
        request.extensions_mut().insert(Peer(peer));
        self.handle(&request)
    }

    fn answer_ready(&self) -> (StatusCode, &'static str, String) {
        let awaited = self.readiness.awaited();
        if awaited.is_empty() {
            return (StatusCode::OK, "text/plain", "ready\n".to_owned());
        }
        let text = format!("not ready\nawaiting: {}\n", awaited.join(", "));
        (StatusCode::SERVICE_UNAVAILABLE, "text/plain", text)
    }

    fn answer_metrics(&self) -> (StatusCode, &'static str, String) {
        let mut body: String = self.metrics.iter().map(|source| source()).collect();
        match text::encode(&mut body, &self.registry) {
            Ok(()) => (StatusCode::OK, "text/plain", body),
            Err(error) => {
                tracing::error!(%error, "a metric cannot be written");
                let text = "a metric cannot be written, see the log\n".to_owned();
                (StatusCode::INTERNAL_SERVER_ERROR, "text/plain", text)
            }
        }
    }

    fn answer_state(&self) -> (StatusCode, &'static str, String) {
        let mut state = serde_json::Map::new();
        let awaited = self.readiness.awaited();
        state.insert("ready".to_owned(), awaited.is_empty().into());
        state.insert("awaited".to_owned(), awaited.into());
        for (name, section) in &self.states {
            state.insert((*name).to_owned(), section());
        }
        let mut body = format!("{:#}", serde_json::Value::Object(state));
        body.push('\n');
        (StatusCode::OK, "application/json", body)
    }
}

impl Bound {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves until it is dropped, and with it its connections. From the shutdown on the process
    /// is not ready: whoever sends it traffic learns so before it stops accepting.
    pub async fn serve(self, shutdown: Shutdown) {
        let mut stopping = None;
        let mut connections = JoinSet::new();
        let mut peers = HashMap::new();
        loop {
            tokio::select! {
                () = shutdown.requested(), if stopping.is_none() => {
                    stopping = Some(self.admin.readiness.guard("shutdown"));
                }
                Some(ended) = connections.join_next_with_id() => {
                    peers.remove(&ended.map_or_else(|error| error.id(), |(id, ())| id));
                }
                (io, peer) = crate::net::accept(&self.listener), if peers.len() < MAX_CONNECTIONS => {
                    if peers.values().filter(|ip| **ip == peer.ip()).count() >= MAX_OF_ONE_PEER {
                        tracing::debug!(%peer, "too many admin connections of one peer");
                        continue;
                    }
                    let admin = self.admin.clone();
                    let connection = async move { admin.serve_connection(io, peer).await };
                    peers.insert(connections.spawn(connection).id(), peer.ip());
                }
            }
        }
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin")
            .field("readiness", &self.readiness)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bound")
            .field("addr", &self.addr)
            .finish_non_exhaustive()
    }
}

/// A whole answer in one piece.
pub fn respond(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let content_type = header::HeaderValue::from_static(content_type);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    response
}

#[cfg(test)]
mod tests;
