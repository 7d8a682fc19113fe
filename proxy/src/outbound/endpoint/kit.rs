//! What endpoints are made with, and how their connections behave.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::sync::Semaphore;

use super::{Metadata, connect::Connector};
use crate::{
    Runtime,
    config::{Backoff, Http2},
    http::client::Settings,
    metrics::Metrics,
    witness::Witnesses,
};

/// What every endpoint is made with. Cloned freely.
#[derive(Clone)]
pub struct Kit {
    /// Connects.
    pub connector: Connector,
    /// Counts.
    pub metrics: Metrics,
    /// Who watches requests.
    pub witnesses: Witnesses,
    /// Where those requests come from: this pod.
    pub own: SocketAddr,
    /// HTTP/2 settings of endpoints that bring none.
    pub h2: Http2,
    /// Idle HTTP/1 connections end after this long.
    pub h1_idle_timeout: Duration,
    /// Most idle HTTP/1 connections per endpoint.
    pub h1_max_idle: usize,
    /// How many requests a connection carries.
    pub max_requests: Option<u64>,
    /// Pauses between attempts to connect.
    pub backoff: Backoff,
    /// How long requests wait for an endpoint where no policy says.
    pub failfast: Duration,
    /// Turns at connecting for HTTP.
    pub turns: Arc<Semaphore>,
}

/// Handshakes that are under way at once to the endpoints of one name. Ten thousand that begin
/// together would all take longer than any of them may.
const TURNS: usize = 64;

/// A dead gateway or peer must be noticed faster than people notice: one of each, worst case.
const PING_INTERVAL: Duration = Duration::from_secs(1);
const PING_TIMEOUT: Duration = Duration::from_secs(1);

impl Kit {
    /// As configured.
    pub fn new(runtime: &Runtime) -> Self {
        let outbound = &runtime.config.outbound;
        Self {
            connector: Connector::new(runtime),
            metrics: runtime.metrics.clone(),
            witnesses: runtime.witnesses.clone(),
            own: own(runtime),
            h2: outbound.h2_client,
            h1_idle_timeout: outbound.http1_pool_idle_timeout,
            h1_max_idle: outbound.max_idle_per_endpoint,
            max_requests: outbound.max_requests_per_connection,
            backoff: outbound.backoff,
            failfast: outbound.http_failfast_timeout,
            turns: Arc::new(Semaphore::new(TURNS)),
        }
    }

    /// The same, with turns of its own: endpoints of one name do not keep those of others waiting.
    pub fn apart(&self) -> Self {
        Self {
            turns: Arc::new(Semaphore::new(TURNS)),
            ..self.clone()
        }
    }

    pub(super) fn settings(&self, metadata: &Metadata) -> Settings {
        let mut h2 = match metadata.is_gateway() {
            true => self.h2.across_clusters(),
            false => self.h2,
        };
        if let Some(windows) = metadata.windows {
            h2.adaptive = windows.adaptive;
            if windows.stream > 0 {
                h2.stream_window = windows.stream;
            }
            if windows.connection > 0 {
                h2.connection_window = windows.connection;
            }
        }
        let wanted = metadata.keep_alive;
        Settings {
            h2,
            ping_interval: wanted.map_or(PING_INTERVAL, |k| k.interval.min(PING_INTERVAL)),
            ping_timeout: wanted.map_or(PING_TIMEOUT, |k| k.timeout.min(PING_TIMEOUT)),
            // A gateway stands for a whole cluster: its loss should be known before the request
            // that needs it. Pinging every idle pod every second would cost more than it tells.
            ping_while_idle: metadata.is_gateway(),
            idle_timeout: self.h1_idle_timeout,
            h1_max_idle: self.h1_max_idle,
            max_requests: self.max_requests,
            backoff: self.backoff,
            // There are other endpoints.
            patience: Duration::ZERO,
        }
    }
}

/// The pod's address, if it is known. Which of its ports the application used is not.
fn own(runtime: &Runtime) -> SocketAddr {
    let config = &runtime.config;
    let ips = &config.outbound.local_ips;
    let ip = config.loopback.or_else(|| ips.iter().next().copied());
    (ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), 0).into()
}
