//! What the proxy counts, under the names and labels stock dashboards read.
//!
//! Owns every series. The request path holds handles resolved once per target ([`HttpMetrics`],
//! [`TransportMetrics`]); nothing is looked up per request. Series nobody holds or touches fade
//! after the configured idle time, and there are never more than a fixed number of them.

mod counters;
mod family;
mod http;
mod labels;
mod transport;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;
use prometheus_client::registry::Registry;

use crate::{Error, transport_header::Header, transport_header::Session};
use counters::NAMES;
use family::{Family, Series};
use labels::{Labels, header, sample};

pub(crate) use counters::Counter;
pub use http::{Exchange, HttpMetrics};
pub use labels::{Direction, InboundLabels, Meta, OutboundLabels, Peer, TlsLabels};
pub use transport::{Counted, TransportMetrics};

/// All series of one proxy. Cloned freely.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    http: Family<http::HttpSeries>,
    transport: Family<transport::TransportSeries>,
    counters: [Family<AtomicU64>; NAMES.len()],
    identity: Identity,
    registry: Mutex<Registry>,
    retain_idle: Duration,
}

#[derive(Default)]
struct Identity {
    expires: AtomicU64,
    refreshed: AtomicU64,
    ok: AtomicU64,
    failed: AtomicU64,
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
            transport: Family::new(),
            counters: std::array::from_fn(|_| Family::new()),
            identity: Identity::default(),
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

    /// The TCP series of an endpoint (`peer="dst"`).
    pub fn outbound_transport(&self, labels: &OutboundLabels) -> TransportMetrics {
        let labels = Labels::of(Direction::Outbound)
            .peer(Peer::Dst)
            .outbound(labels);
        TransportMetrics(self.0.transport.resolve(labels.finish()))
    }

    /// The TCP series of accepted outbound connections (`peer="src"`).
    pub fn outbound_accept(&self, target: SocketAddr) -> TransportMetrics {
        let labels = Labels::of(Direction::Outbound)
            .peer(Peer::Src)
            .target(target)
            .tls(&TlsLabels::None("loopback"));
        TransportMetrics(self.0.transport.resolve(labels.finish()))
    }

    /// Counts a failed outbound connection (`outbound_tcp_errors_total`).
    pub fn outbound_tcp_error(&self, target: SocketAddr, error: &Error) {
        self.error(Counter::OutboundTcpErrors, target, error);
    }

    /// Counts a request answered with an error of ours (`outbound_http_errors_total`).
    pub fn outbound_http_error(&self, target: SocketAddr, error: &Error) {
        self.error(Counter::OutboundHttpErrors, target, error);
    }

    pub(crate) fn inbound_http(&self, labels: &InboundLabels<'_>) -> HttpMetrics {
        let labels = Labels::of(Direction::Inbound).inbound(labels);
        HttpMetrics(self.0.http.resolve(labels.finish()))
    }

    pub(crate) fn inbound_accept(&self, labels: &InboundLabels<'_>) -> TransportMetrics {
        let labels = Labels::of(Direction::Inbound)
            .peer(Peer::Src)
            .inbound(labels);
        TransportMetrics(self.0.transport.resolve(labels.finish()))
    }

    pub(crate) fn inbound_connect(&self) -> TransportMetrics {
        let labels = Labels::of(Direction::Inbound)
            .peer(Peer::Dst)
            .tls(&TlsLabels::None("loopback"));
        TransportMetrics(self.0.transport.resolve(labels.finish()))
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

    pub(crate) fn rate_limited(&self, labels: &InboundLabels<'_>, scope: &str) {
        let labels = Labels::default()
            .inbound(labels)
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
        let identity = &self.0.identity;
        identity.ok.fetch_add(1, Ordering::Relaxed);
        let refreshed = unix(SystemTime::now());
        identity.refreshed.store(refreshed, Ordering::Relaxed);
        if let Some(expires) = expires {
            identity.expires.store(unix(expires), Ordering::Relaxed);
        }
    }

    pub(crate) fn not_certified(&self) {
        self.0.identity.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Every series that is not in the registry, as text.
    pub fn render(&self) -> String {
        let mut out = String::new();
        let inner = &*self.0;
        http::render(&mut out, &inner.http, inner.retain_idle);
        transport::render(&mut out, &inner.transport, inner.retain_idle);
        for (family, (name, help)) in inner.counters.iter().zip(NAMES) {
            header(&mut out, name, "counter", help);
            for (labels, series) in family.snapshot(inner.retain_idle) {
                let value = series.load(Ordering::Relaxed);
                sample(&mut out, name, &labels, &Labels::default(), value);
            }
        }
        inner.identity.render(&mut out);
        build_info(&mut out);
        out
    }

    fn error(&self, counter: Counter, target: SocketAddr, error: &Error) {
        let labels = Labels::default()
            .with("error", error_label(error))
            .target(target);
        self.count(counter, labels).increment();
    }

    fn count(&self, counter: Counter, labels: Labels) -> Count {
        Count(self.0.counters[counter as usize].resolve(labels.finish()))
    }
}

impl Identity {
    fn render(&self, out: &mut String) {
        let none = Labels::default();
        let name = "control_identity_cert_expiration_timestamp_seconds";
        let help = "When the proxy's certificate will expire (in seconds since the UNIX epoch)";
        header(out, name, "gauge", help);
        sample(out, name, "", &none, self.expires.load(Ordering::Relaxed));
        let name = "control_identity_cert_refresh_timestamp_seconds";
        let help = "When the proxy's certificate was last refreshed";
        header(out, name, "gauge", help);
        sample(out, name, "", &none, self.refreshed.load(Ordering::Relaxed));
        let name = "control_identity_cert_refreshes_total";
        let help = "How often the proxy asked for a certificate";
        header(out, name, "counter", help);
        for (result, count) in [("ok", &self.ok), ("error", &self.failed)] {
            let labels = Labels::default().with("result", result);
            sample(out, name, "", &labels, count.load(Ordering::Relaxed));
        }
    }
}

fn build_info(out: &mut String) {
    let profile = match cfg!(debug_assertions) {
        true => "debug",
        false => "release",
    };
    let labels = Labels::default()
        .with("date", "")
        .with("git_sha", option_env!("MESH_GIT_SHA").unwrap_or_default())
        .with("profile", profile)
        .with("vendor", "mesh")
        .with("version", env!("CARGO_PKG_VERSION"));
    let name = "proxy_build_info";
    header(out, name, "gauge", "Proxy build info");
    sample(out, name, "", &labels, 1);
}

/// The word dashboards know an error by.
fn error_label(error: &Error) -> &'static str {
    match error {
        Error::LoadShed(_) => "loadshed",
        Error::FailFast(_) => "failfast",
        Error::DetectTimeout("TLS", _) => "tls detection timeout",
        Error::GatewayLoop(_) => "gateway loop",
        Error::GatewayDomainInvalid(_) | Error::Unexported(_) => "gateway domain invalid",
        Error::IdentityRequired { .. } => "identity required",
        Error::Timeout(..) | Error::Withdrawn(_) => "response timeout",
        Error::Io(_) | Error::Connect { .. } | Error::ConnectTimeout { .. } => "i/o",
        _ => "unexpected",
    }
}

fn unix(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
