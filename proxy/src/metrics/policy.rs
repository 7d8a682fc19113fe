//! What is counted of the objects of policies: routes, backends, servers.

use std::{io, sync::Weak, time::Duration};

use super::{
    Balanced, Counter, HttpMetrics, InboundLabels, Kind, Meta, Metrics, Object, QueueMetrics,
    Source, StreamMetrics,
    labels::{Direction, Labels, label_name},
};
use crate::{Error, detect::Detected};

/// A connection that takes a route.
pub(crate) struct RouteConnection {
    metrics: Metrics,
    labels: Labels,
    close: Counter,
}

impl RouteConnection {
    /// Counts its end.
    pub(crate) fn closed<T>(self, ended: &Result<T, Error>) {
        let error = match ended {
            Ok(_) => "",
            Err(Error::Fail(_)) => "invalid_backend",
            Err(Error::InvalidPolicy(_)) => "invalid_policy",
            Err(_) => "unexpected",
        };
        let labels = self.labels.with("error", error);
        self.metrics.count(self.close, labels).increment();
    }
}

impl Metrics {
    /// The series of a route of the ServiceProfile of `dst`: of requests, and of those that were
    /// sent for them.
    pub(crate) fn profile_route(&self, dst: &str, labels: &[(String, String)]) -> [HttpMetrics; 2] {
        let all = profile_labels(Direction::Outbound, dst, labels).finish();
        let [routes, actual] = &self.0.profiles;
        [routes, actual].map(|family| HttpMetrics(family.resolve(all.clone())))
    }

    /// The series of requests to the workload that take a route of the ServiceProfile of `dst`.
    pub(crate) fn inbound_profile_route(
        &self,
        dst: &str,
        labels: &[(String, String)],
    ) -> HttpMetrics {
        let all = profile_labels(Direction::Inbound, dst, labels).finish();
        let [routes, _] = &self.0.profiles;
        HttpMetrics(routes.resolve(all))
    }

    /// Counts a request that its route of a ServiceProfile asks to send again; `skipped` says why it
    /// was not.
    pub(crate) fn profile_retryable(
        &self,
        dst: &str,
        labels: &[(String, String)],
        skipped: Option<&'static str>,
    ) {
        let mut all = profile_labels(Direction::Outbound, dst, labels);
        if let Some(skipped) = skipped {
            all.push("skipped", skipped);
        }
        self.count(Counter::RouteRetryable, all).increment();
    }

    /// The series of a route of an outbound policy: of its requests for `hostname`. Whom a request
    /// names is the client's choice, and each is a series: empty, it is all of them.
    pub(crate) fn outbound_route(
        &self,
        kind: Kind,
        (parent, route): (&Object, &Object),
        hostname: &str,
    ) -> StreamMetrics {
        let labels = Labels::default().service("parent", parent).route(route);
        let labels = labels.with("hostname", hostname);
        self.0.streams.resolve(kind, labels)
    }

    /// Shows a balancer for as long as it lives, and gives the series of those who wait for it.
    pub(crate) fn outbound_balancer(
        &self,
        balanced: Balanced,
        (parent, backend): (&Object, &Object),
        (logical, concrete): (&str, &str),
        balancer: Weak<dyn Source>,
    ) -> QueueMetrics {
        let mut labels = Labels::default()
            .service("parent", parent)
            .service("backend", backend);
        if balanced == Balanced::Tcp {
            labels.push("logical", logical);
            labels.push("concrete", concrete);
        }
        self.0.balancers.add(balanced, labels.clone(), balancer);
        self.0.balancers.queue(balanced, labels)
    }

    /// The series of a backend in a route.
    pub(crate) fn outbound_backend(
        &self,
        kind: Kind,
        (parent, route): (&Object, &Object),
        backend: &Object,
    ) -> StreamMetrics {
        let labels = Labels::default().service("parent", parent).route(route);
        self.0
            .streams
            .resolve(kind, labels.service("backend", backend))
    }

    /// Counts what the connection to a port of the workload turned out to be.
    pub(crate) fn inbound_detected(
        &self,
        (server, port): (&Meta, u16),
        found: Result<Detected, &io::Error>,
        elapsed: Duration,
    ) {
        let labels = Labels::default()
            .meta("srv", server)
            .with("srv_port", &port.to_string());
        self.0.detections[0].count(labels, found, elapsed);
    }

    /// Counts what a connection of the workload turned out to be.
    pub(crate) fn outbound_detected(
        &self,
        parent: &Object,
        found: Result<Detected, &io::Error>,
        elapsed: Duration,
    ) {
        let labels = Labels::default().service("parent", parent);
        self.0.detections[1].count(labels, found, elapsed);
    }

    /// Counts a connection of the workload by what its policy says of the protocol.
    pub(crate) fn outbound_protocol(&self, protocol: &str, parent: &Object) {
        let labels = Labels::default()
            .with("protocol", protocol)
            .service("parent", parent);
        self.count(Counter::OutboundProtocol, labels).increment();
    }

    /// Counts a connection that takes a route; its end is told to what is returned. `hostname` is of
    /// TLS only.
    pub(crate) fn outbound_connection(
        &self,
        tls: bool,
        (parent, route): (&Object, &Object),
        hostname: &str,
    ) -> RouteConnection {
        let mut labels = Labels::default().service("parent", parent).route(route);
        let (open, close) = match tls {
            false => (Counter::TcpRouteOpen, Counter::TcpRouteClose),
            true => (Counter::TlsRouteOpen, Counter::TlsRouteClose),
        };
        if tls {
            labels.push("hostname", hostname);
        }
        self.count(open, labels.clone()).increment();
        RouteConnection {
            metrics: self.clone(),
            labels,
            close,
        }
    }

    /// The series of a route of an inbound server, whoever the client is.
    pub(crate) fn inbound_route(
        &self,
        grpc: bool,
        labels: &InboundLabels<'_>,
        route: &Meta,
    ) -> StreamMetrics {
        let kind = match grpc {
            true => Kind::InboundGrpc,
            false => Kind::InboundHttp,
        };
        let labels = Labels::default()
            .meta("parent", labels.server)
            .with("parent_port", &labels.target.port().to_string())
            .meta("route", route);
        self.0.streams.resolve(kind, labels)
    }
}

fn profile_labels(direction: Direction, dst: &str, labels: &[(String, String)]) -> Labels {
    let mut all = Labels::of(direction).with("dst", dst);
    for (name, value) in labels {
        all.push(&format!("rt_{}", label_name(name)), value);
    }
    all
}
