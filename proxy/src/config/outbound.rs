//! What the workload sends.

use std::{collections::BTreeSet, net::IpAddr, net::SocketAddr, sync::Arc, time::Duration};

use super::{Backoff, Http2, HttpServer, Tcp};

/// The outbound section.
#[derive(Clone, Debug)]
pub struct Outbound {
    /// Where it listens (one or two addresses).
    pub listen: Vec<SocketAddr>,
    /// Accepted sockets.
    pub accept: Tcp,
    /// Dialled sockets.
    pub connect: Tcp,
    /// How long connecting may take, handshake and header included.
    pub connect_timeout: Duration,
    /// Pauses between attempts to connect.
    pub backoff: Backoff,
    /// How long the first bytes may take.
    pub detect_timeout: Duration,
    /// Discovery of targets nobody used for this long is dropped.
    pub discovery_idle_timeout: Duration,
    /// HTTP server settings.
    pub http: HttpServer,
    /// HTTP/2 client settings, unless an endpoint brings its own.
    pub h2_client: Http2,
    /// Idle HTTP/1 connections end after this long.
    pub http1_pool_idle_timeout: Duration,
    /// Most idle HTTP/1 connections kept per endpoint.
    pub max_idle_per_endpoint: usize,
    /// Most requests waiting for a service.
    pub http_queue_capacity: usize,
    /// How long a request waits for a ready endpoint.
    pub http_failfast_timeout: Duration,
    /// Most connections waiting for a service.
    pub tcp_queue_capacity: usize,
    /// How long a connection waits for a ready endpoint.
    pub tcp_failfast_timeout: Duration,
    /// Most requests in flight.
    pub max_in_flight: usize,
    /// Whether applications see `l5d-proxy-error`.
    pub informational_headers: bool,
    /// Addresses of this pod: endpoints there are reached in the clear.
    pub local_ips: Arc<BTreeSet<IpAddr>>,
    /// Route by `l5d-dst-override` (ingress mode).
    pub ingress_mode: bool,
    /// Serve the explicit HTTP/CONNECT proxy mode (the `loopback` network only).
    pub explicit: bool,
}
