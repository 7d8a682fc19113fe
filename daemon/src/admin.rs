//! The admin server: `/live`, `/ready`, `/metrics`, `/state`.

use crate::{Shutdown, readiness::Readiness};
use bytes::Bytes;
use http_body_util::Full;
use prometheus_client::registry::Registry;
use std::{io, net::SocketAddr, sync::Arc};

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
pub struct Admin;

/// A bound admin server.
pub struct Bound;

impl Admin {
    /// An admin server with the routes every process has.
    pub fn new(_readiness: Readiness, _registry: Registry) -> Self {
        todo!()
    }
    /// Adds a section to `/state`.
    pub fn state(self, _name: &'static str, _f: StateFn) -> Self {
        todo!()
    }
    /// Adds text to `/metrics`.
    pub fn metrics_source(self, _f: MetricsFn) -> Self {
        todo!()
    }
    /// Adds a route, asked before the common ones.
    pub fn route(self, _f: RouteFn) -> Self {
        todo!()
    }
    /// Answers one request; for servers that have their own way of accepting.
    pub fn handle(&self, _request: &Request) -> Response {
        todo!()
    }
    /// Binds (see [`crate::net::bind`]).
    pub async fn bind(self, _addr: SocketAddr) -> io::Result<Bound> {
        todo!()
    }
}

impl Bound {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        todo!()
    }
    /// Serves until the shutdown.
    pub async fn serve(self, _shutdown: Shutdown) {
        todo!()
    }
}
