//! What the workload sends.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use mesh_contract::ports;

use super::{Backoff, Http2, HttpServer, Inbound, Tcp, vars::Vars};

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
    /// How many requests a connection to an endpoint carries before another takes its place.
    pub max_requests_per_connection: Option<u64>,
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
    /// Whether requests and TLS connections are counted by the names they are for, each of which
    /// is a series.
    pub hostname_labels: bool,
    /// Addresses of this pod: endpoints there are reached in the clear.
    pub local_ips: Arc<BTreeSet<IpAddr>>,
    /// Route by `l5d-dst-override` (ingress mode).
    pub ingress_mode: bool,
    /// Serve the explicit HTTP/CONNECT proxy mode (the `loopback` network only).
    pub explicit: bool,
}

impl Outbound {
    pub(super) fn parse(vars: &Vars<'_>, inbound: &Inbound, loopback: Option<IpAddr>) -> Self {
        let duration = |key, default| vars.duration(key).unwrap_or(default);
        let ingress_mode = vars.flag("INGRESS_MODE");
        let disable_headers = vars
            .parse(
                "OUTBOUND_DISABLE_INFORMATIONAL_HEADERS",
                "true or false",
                |text| text.parse().ok(),
            )
            .unwrap_or(ingress_mode);
        Self {
            listen: listen(vars, loopback),
            accept: Tcp::parse(vars, "OUTBOUND_ACCEPT"),
            connect: Tcp::parse(vars, "OUTBOUND_CONNECT"),
            connect_timeout: duration("OUTBOUND_CONNECT_TIMEOUT", Duration::from_secs(1)),
            backoff: Backoff::parse(vars, "OUTBOUND_CONNECT", Duration::from_secs(60)),
            detect_timeout: duration("OUTBOUND_DETECT_TIMEOUT", Duration::from_secs(10)),
            discovery_idle_timeout: duration(
                "OUTBOUND_DISCOVERY_IDLE_TIMEOUT",
                Duration::from_secs(5),
            ),
            http: HttpServer::parse(vars, "OUTBOUND"),
            h2_client: Http2::parse_client(vars),
            http1_pool_idle_timeout: duration(
                "OUTBOUND_HTTP1_CONNECTION_POOL_IDLE_TIMEOUT",
                Duration::from_secs(3),
            ),
            max_idle_per_endpoint: vars
                .number("OUTBOUND_MAX_IDLE_CONNS_PER_ENDPOINT")
                .unwrap_or(10_000),
            max_requests_per_connection: vars
                .number("OUTBOUND_MAX_REQUESTS_PER_CONNECTION")
                .filter(|most| *most > 0),
            http_queue_capacity: vars
                .number("OUTBOUND_HTTP_QUEUE_CAPACITY")
                .unwrap_or(10_000),
            http_failfast_timeout: duration(
                "OUTBOUND_HTTP_FAILFAST_TIMEOUT",
                Duration::from_secs(3),
            ),
            tcp_queue_capacity: vars.number("OUTBOUND_TCP_QUEUE_CAPACITY").unwrap_or(10_000),
            tcp_failfast_timeout: duration("OUTBOUND_TCP_FAILFAST_TIMEOUT", Duration::from_secs(3)),
            max_in_flight: vars.number("OUTBOUND_MAX_IN_FLIGHT").unwrap_or(100_000),
            informational_headers: !disable_headers,
            hostname_labels: vars.flag("OUTBOUND_METRICS_HOSTNAME_LABELS"),
            local_ips: inbound.ips.clone(),
            ingress_mode,
            explicit: loopback.is_some(),
        }
    }
}

/// One or two addresses. In the `loopback` network a pod has one address only, so two become one.
fn listen(vars: &Vars<'_>, loopback: Option<IpAddr>) -> Vec<SocketAddr> {
    let key = "OUTBOUND_LISTEN_ADDRS";
    let right = "one or two addresses such as 127.0.0.1:4140,[::1]:4140";
    let addrs: Option<Vec<SocketAddr>> = vars.list(key, right, |addr| addr.parse().ok());
    if addrs.as_ref().is_some_and(|addrs| addrs.len() > 2) {
        vars.mistake(key, format!("is not {right}"));
    }
    let one = vars.address("OUTBOUND_LISTEN_ADDR");
    let default = || (Ipv4Addr::LOCALHOST, ports::OUTBOUND).into();
    let mut addrs = addrs
        .filter(|addrs| !addrs.is_empty())
        .unwrap_or_else(|| vec![one.unwrap_or_else(default)]);
    if let Some(ip) = loopback {
        addrs.iter_mut().for_each(|addr| addr.set_ip(ip));
        addrs.dedup();
    }
    addrs
}
