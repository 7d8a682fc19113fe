//! What the proxy counts, under the names and labels stock dashboards read.
//!
//! Owns every series. The request path holds handles resolved once per target ([`HttpMetrics`],
//! [`TransportMetrics`]); nothing is looked up per request. Series nobody holds or touches fade
//! after the configured idle time.

use std::{net::SocketAddr, sync::Arc};

use http::Response;

use crate::{Error, http::Body, io::Io};

/// All series of one proxy. Cloned freely.
#[derive(Clone)]
pub struct Metrics {}

/// Which half a series belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// What the workload receives.
    Inbound,
    /// What the workload sends.
    Outbound,
}

/// Which side of the proxy a connection is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Peer {
    /// It was accepted.
    Src,
    /// It was dialled.
    Dst,
}

/// The TLS labels of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TlsLabels {
    /// Mesh TLS; the client's identity as a server saw it.
    Client(Option<Arc<str>>),
    /// Mesh TLS; the server's identity as a client verified it.
    Server(Arc<str>),
    /// Somebody else's TLS, passed through.
    Opaque(Option<Arc<str>>),
    /// None, and why: `no_tls_from_remote`, `port_skipped`, `loopback`,
    /// `not_provided_by_service_discovery`.
    None(&'static str),
}

/// Labels of an outbound endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OutboundLabels {
    /// The logical `name:port`.
    pub authority: Arc<str>,
    /// The endpoint.
    pub target: SocketAddr,
    /// How it is reached.
    pub tls: TlsLabels,
    /// Discovery's labels (`namespace`, `pod`, …), sorted; shown with the prefix `dst_`.
    pub dst: Arc<[(String, String)]>,
}

/// `request_total`, `response_total` and `response_latency_ms` of one target.
#[derive(Clone)]
pub struct HttpMetrics {}

/// `tcp_*` of one target.
#[derive(Clone)]
pub struct TransportMetrics {}

/// One request on its way; not answering it counts as a failure.
pub struct Exchange {}

impl Metrics {
    /// The HTTP series of an endpoint.
    pub fn outbound_http(&self, _labels: &OutboundLabels) -> HttpMetrics {
        todo!()
    }

    /// The TCP series of an endpoint (`peer="dst"`).
    pub fn outbound_transport(&self, _labels: &OutboundLabels) -> TransportMetrics {
        todo!()
    }

    /// The TCP series of accepted outbound connections (`peer="src"`).
    pub fn outbound_accept(&self, _target: SocketAddr) -> TransportMetrics {
        todo!()
    }

    /// Counts a failed outbound connection (`outbound_tcp_errors_total`).
    pub fn outbound_tcp_error(&self, _target: SocketAddr, _error: &Error) {
        todo!()
    }

    /// Counts a request answered with an error of ours (`outbound_http_errors_total`).
    pub fn outbound_http_error(&self, _target: SocketAddr, _error: &Error) {
        todo!()
    }

    /// Every series as text.
    pub fn render(&self) -> String {
        todo!()
    }
}

impl HttpMetrics {
    /// Counts a request that is about to be sent.
    pub fn request(&self, _grpc: bool) -> Exchange {
        todo!()
    }
}

impl Exchange {
    /// Counts the response when its body has ended, with status, classification and latency.
    pub fn response(self, _response: Response<Body>) -> Response<Body> {
        todo!()
    }

    /// Counts a request that got no response.
    pub fn error(self, _error: &Error) {
        todo!()
    }
}

impl TransportMetrics {
    /// Counts an opened connection; the returned stream counts bytes and, dropped, the close.
    pub fn open<I: Io>(&self, _io: I) -> Counted<I> {
        todo!()
    }
}

/// A connection whose bytes are counted.
pub struct Counted<I> {
    _io: I,
}
