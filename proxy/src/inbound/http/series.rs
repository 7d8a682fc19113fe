//! What the requests of a connection are counted as.

use std::sync::Arc;

use super::{Connection, Target};
use crate::{
    Error,
    inbound::policy::ServerPolicy,
    metrics::{Count, Counter, HttpMetrics, InboundLabels, Meta, StreamMetrics},
};

/// Series for requests of this connection that take the same route by the same right.
#[derive(Clone)]
pub(super) struct Handles {
    policy: Arc<ServerPolicy>,
    route: Meta,
    authz: Meta,
    pub(super) http: HttpMetrics,
    pub(super) allow: Count,
    /// None for requests to this proxy itself.
    pub(super) stream: Option<StreamMetrics>,
}

impl Connection {
    /// The series of this route and right, looked up once per connection and policy.
    pub(super) fn handles(
        &self,
        policy: &Arc<ServerPolicy>,
        (route, grpc): (&Meta, bool),
        authz: &Meta,
    ) -> Handles {
        let mut handles = self.handles.lock();
        handles.retain(|known| Arc::ptr_eq(&known.policy, policy));
        if let Some(known) = handles
            .iter()
            .find(|known| known.route == *route && known.authz == *authz)
        {
            return known.clone();
        }
        let labels = self.labels(policy, Some(route), Some(authz));
        let metrics = &self.inbound.0.runtime.metrics;
        let new = Handles {
            policy: policy.clone(),
            route: route.clone(),
            authz: authz.clone(),
            http: metrics.inbound_http(&labels),
            allow: metrics.inbound_count(Counter::HttpAllow, &labels),
            stream: (!matches!(self.target, Target::Admin(_)))
                .then(|| metrics.inbound_route(grpc, &labels, route)),
        };
        handles.push(new.clone());
        new
    }

    pub(super) fn count(&self, counter: Counter, policy: &ServerPolicy, route: Option<&Meta>) {
        let labels = self.labels(policy, route, None);
        let metrics = &self.inbound.0.runtime.metrics;
        metrics.inbound_count(counter, &labels).increment();
    }

    pub(super) fn count_error(&self, error: &Error) {
        if !matches!(
            error,
            Error::Unauthorized(_) | Error::RouteNotFound | Error::RateLimited
        ) {
            let metrics = &self.inbound.0.runtime.metrics;
            metrics.inbound_error(Counter::InboundHttpErrors, self.target.addr(), error);
        }
    }

    pub(super) fn labels<'l>(
        &'l self,
        policy: &'l ServerPolicy,
        route: Option<&'l Meta>,
        authz: Option<&'l Meta>,
    ) -> InboundLabels<'l> {
        InboundLabels {
            target: self.target.addr(),
            tls: &self.tls,
            server: &policy.meta,
            route,
            authz,
        }
    }
}
