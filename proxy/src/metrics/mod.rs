//! What the proxy counts, under the names and labels stock dashboards read.
//!
//! Owns every series. The request path holds handles resolved once per target ([`HttpMetrics`],
//! [`TransportMetrics`]); nothing is looked up per request. Series nobody holds or touches fade
//! after the configured idle time, and there are never more than a fixed number of them.

mod about;
mod balancer;
mod control;
mod counters;
mod detect;
mod exchange;
mod family;
mod histogram;
mod http;
mod identity;
mod labels;
mod policy;
mod shape;
mod stream;
mod transport;
mod words;
mod zone;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use mesh_tls::control::Connections;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;

use crate::{Error, transport_header::Header, transport_header::Session};
use counters::NAMES;
use detect::Detections;
use family::{Family, Series};
use identity::Identity;
use labels::Labels;
use zone::{Transfers, Zone};

pub use balancer::QueueMetrics;
pub(crate) use balancer::{Balanced, Snapshot, Source};
pub use control::ControlClient;
pub(crate) use control::Resolution;
pub(crate) use counters::Counter;
pub use exchange::Exchange;
pub use http::HttpMetrics;
pub use labels::{Direction, InboundLabels, Meta, Object, OutboundLabels, Peer, TlsLabels};
pub(crate) use shape::Kind;
pub(crate) use stream::Retried;
pub use stream::StreamMetrics;
pub use transport::{Counted, TransportMetrics};

/// All series of one proxy. Cloned freely.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    http: Family<http::HttpSeries>,
    control: Family<http::HttpSeries>,
    /// Requests of routes of ServiceProfiles, and those that were sent for them.
    profiles: [Family<http::HttpSeries>; 2],
    transport: Family<transport::TransportSeries>,
    streams: stream::Streams,
    balancers: balancer::Balancers,
    /// Of inbound and outbound connections.
    detections: [Detections; 2],
    transfers: Arc<Transfers>,
    counters: [Family<AtomicU64>; NAMES.len()],
    identity: Identity,
    resolutions: control::Resolutions,
    control_balancers: control::Balancers,
    registry: Mutex<Registry>,
    retain_idle: Duration,
}

/// A counter resolved for its labels. Cloned freely.
#[derive(Clone)]
pub(crate) struct Count(Arc<Series<AtomicU64>>);

impl Count {
    pub(crate) fn increment(&self) {
        self.0.touch();
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Metrics {
    /// No series yet. Those idle for `retain_idle` will be forgotten.
    pub fn new(retain_idle: Duration) -> Self {
        let mut registry = Registry::default();
        mesh_daemon::process::register(&mut registry);
        Self(Arc::new(Inner {
            http: Family::new(),
            control: Family::new(),
            profiles: [Family::new(), Family::new()],
            transport: Family::new(),
            streams: stream::Streams::new(),
            balancers: balancer::Balancers::new(),
            detections: ["inbound", "outbound"].map(Detections::new),
            transfers: Arc::default(),
            counters: std::array::from_fn(|_| Family::new()),
            identity: Identity::default(),
            resolutions: control::Resolutions::default(),
            control_balancers: control::Balancers::default(),
            registry: Mutex::new(registry),
            retain_idle,
        }))
    }

    /// Registers OpenMetrics series; before the proxy is bound.
    pub fn register(&self, register: impl FnOnce(&mut Registry)) {
        register(&mut self.0.registry.lock());
    }

    /// Everything registered, for the admin server.
    pub(crate) fn take_registry(&self) -> Registry {
        std::mem::take(&mut self.0.registry.lock())
    }

    /// The HTTP series of an endpoint.
    pub fn outbound_http(&self, labels: &OutboundLabels) -> HttpMetrics {
        let labels = Labels::of(Direction::Outbound).outbound(labels);
        HttpMetrics(self.0.http.resolve(labels.finish()))
    }

    /// The series of a control-plane address.
    pub(crate) fn control(&self, addr: &str, tls: &TlsLabels) -> HttpMetrics {
        let labels = Labels::default().with("addr", addr).tls(tls);
        HttpMetrics(self.0.control.resolve(labels.finish()))
    }

    /// The TCP series of an endpoint (`peer="dst"`).
    pub fn outbound_transport(&self, labels: &OutboundLabels) -> TransportMetrics {
        let zone = Zone::of(&labels.dst);
        let labels = Labels::of(Direction::Outbound)
            .peer(Peer::Dst)
            .outbound(labels);
        let series = self.0.transport.resolve(labels.finish());
        TransportMetrics::new(series).to(zone, &self.0.transfers)
    }

    /// The TCP series of accepted outbound connections (`peer="src"`).
    pub fn outbound_accept(&self, target: SocketAddr) -> TransportMetrics {
        let labels = Labels::of(Direction::Outbound)
            .peer(Peer::Src)
            .target(target)
            .tls(&TlsLabels::None("loopback"));
        TransportMetrics::new(self.0.transport.resolve(labels.finish()))
    }

    /// Counts a failed outbound connection (`outbound_tcp_errors_total`).
    pub fn outbound_tcp_error(&self, target: SocketAddr, error: &Error) {
        self.error(Counter::OutboundTcpErrors, target, error);
    }

    /// Counts a request answered with an error of ours (`outbound_http_errors_total`).
    pub fn outbound_http_error(&self, target: SocketAddr, error: &Error) {
        self.error(Counter::OutboundHttpErrors, target, error);
    }

    /// The HTTP series of a port and a client; of requests for `authority` alone, if there is one.
    pub(crate) fn inbound_http(
        &self,
        labels: &InboundLabels<'_>,
        authority: Option<&str>,
    ) -> HttpMetrics {
        let direction = Labels::of(Direction::Inbound);
        let direction = match authority {
            Some(authority) => direction.with("authority", authority),
            None => direction,
        };
        let labels = direction.inbound(labels);
        HttpMetrics(self.0.http.resolve(labels.finish()))
    }

    pub(crate) fn inbound_accept(&self, labels: &InboundLabels<'_>) -> TransportMetrics {
        let labels = Labels::of(Direction::Inbound)
            .peer(Peer::Src)
            .inbound(labels);
        TransportMetrics::new(self.0.transport.resolve(labels.finish()))
    }

    pub(crate) fn inbound_connect(&self) -> TransportMetrics {
        let labels = Labels::of(Direction::Inbound)
            .peer(Peer::Dst)
            .tls(&TlsLabels::None("loopback"));
        TransportMetrics::new(self.0.transport.resolve(labels.finish()))
    }

    pub(crate) fn inbound_count(&self, counter: Counter, labels: &InboundLabels<'_>) -> Count {
        self.count(counter, Labels::default().inbound(labels))
    }

    pub(crate) fn inbound_error(&self, counter: Counter, target: SocketAddr, error: &Error) {
        self.error(counter, target, error);
    }

    pub(crate) fn transport_header(&self, header: &Header, client: &str) {
        let session = match header.session {
            None => "",
            Some(Session::Http1) => "http/1",
            Some(Session::Http2) => "http/2",
        };
        let labels = Labels::default()
            .with("session_protocol", session)
            .with("target_port", &header.port.to_string())
            .with("target_name", header.name.as_deref().unwrap_or_default())
            .with("client_id", client);
        self.count(Counter::TransportHeader, labels).increment();
    }

    pub(crate) fn rate_limited(&self, labels: &InboundLabels<'_>, limit: &Meta, scope: &str) {
        let labels = Labels::default()
            .inbound(labels)
            .meta("ratelimit", limit)
            .with("ratelimit_scope", scope);
        self.count(Counter::RateLimited, labels).increment();
    }

    /// Counts a failed attempt by what became of it (`outbound_http_retries_total`): `connect` and
    /// `request` were tried again, `no_budget` and `not_safe` were not.
    pub(crate) fn outbound_retry(&self, authority: &str, outcome: &'static str) {
        let labels = Labels::default()
            .with("authority", authority)
            .with("outcome", outcome);
        self.count(Counter::OutboundHttpRetries, labels).increment();
    }

    pub(crate) fn certified(&self, expires: Option<SystemTime>) {
        self.0.identity.certified(expires);
    }

    pub(crate) fn not_certified(&self) {
        self.0.identity.not_certified();
    }

    /// How many connections `client` has to a control-plane address.
    pub(crate) fn control_connections(
        &self,
        client: ControlClient,
        addr: &str,
    ) -> Arc<Connections> {
        self.0.control_balancers.to(client, addr)
    }

    /// Counts the resolution of a control-plane name, once it has ended.
    pub(crate) fn resolution(&self, client: ControlClient) -> Resolution {
        self.0.resolutions.begin(client)
    }

    /// Every series that is not in the registry, as text.
    pub fn render(&self) -> String {
        let mut out = String::new();
        let inner = &*self.0;
        let [routes, actual] = &inner.profiles;
        for (prefix, family) in [
            ("", &inner.http),
            ("control_", &inner.control),
            ("route_", routes),
            ("route_actual_", actual),
        ] {
            http::render(&mut out, prefix, family, inner.retain_idle);
        }
        transport::render(&mut out, &inner.transport, inner.retain_idle);
        inner.streams.render(&mut out, inner.retain_idle);
        inner.balancers.render(&mut out, inner.retain_idle);
        for detections in &inner.detections {
            detections.render(&mut out, inner.retain_idle);
        }
        inner.transfers.render(&mut out);
        for (family, (name, help)) in inner.counters.iter().zip(NAMES) {
            let all = family.snapshot(inner.retain_idle);
            family::render_each(&mut out, name, "counter", help, &all, |count| {
                count.load(Ordering::Relaxed)
            });
        }
        inner.identity.render(&mut out);
        inner.resolutions.render(&mut out);
        inner.control_balancers.render(&mut out);
        about::build_info(&mut out);
        about::rustls_info(&mut out);
        out
    }

    fn error(&self, counter: Counter, target: SocketAddr, error: &Error) {
        let labels = Labels::default()
            .with("error", words::word(error))
            .target(target);
        self.count(counter, labels).increment();
    }

    fn count(&self, counter: Counter, labels: Labels) -> Count {
        Count(self.0.counters[counter as usize].resolve(labels.finish()))
    }
}

#[cfg(test)]
mod tests;
