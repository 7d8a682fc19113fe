//! What the requests of a connection are counted as.

use std::sync::Arc;

use http::Request;

use super::{Connection, Target};
use crate::{
    Error,
    http::{Body, headers::is_grpc, name::Name},
    inbound::policy::ServerPolicy,
    metrics::{Count, Counter, Exchange, HttpMetrics, InboundLabels, Meta, StreamMetrics},
};

/// Series for requests of this connection that take the same route by the same right.
#[derive(Clone)]
pub(super) struct Handles {
    policy: Arc<ServerPolicy>,
    route: Meta,
    authz: Meta,
    authority: Option<String>,
    pub(super) http: HttpMetrics,
    pub(super) allow: Count,
    /// None for requests to this proxy itself.
    pub(super) stream: Option<StreamMetrics>,
}

/// More than these are not kept: clients choose authorities.
const MAX_KEPT: usize = 32;

impl Connection {
    /// Whom a request is for, if requests are counted by that.
    pub(super) fn authority(&self, request: &Request<Body>) -> Option<String> {
        match (
            &self.target,
            self.inbound.0.runtime.config.inbound.authority_labels,
        ) {
            (Target::App(_) | Target::Named(..), true) => Some(Name::of(request)?.authority()),
            (Target::Admin(_), _) | (_, false) => None,
        }
    }

    /// Counts a request to the workload by the route of the ServiceProfile it takes, if there is one.
    pub(super) fn by_profile(&self, request: &Request<Body>) -> Option<Exchange> {
        let Target::App(_) = self.target else {
            return None;
        };
        let profiles = &self.inbound.0.profiles;
        let series = profiles.series(&self.profile, request)?;
        Some(series.request(is_grpc(request)))
    }

    /// The series of this route, right and authority, looked up once per connection and policy.
    pub(super) fn handles(
        &self,
        policy: &Arc<ServerPolicy>,
        (route, grpc): (&Meta, bool),
        authz: &Meta,
        authority: Option<String>,
    ) -> Handles {
        let mut handles = self.handles.lock();
        handles.retain(|known| Arc::ptr_eq(&known.policy, policy));
        if let Some(known) = handles.iter().find(|known| {
            known.route == *route && known.authz == *authz && known.authority == authority
        }) {
            return known.clone();
        }
        if handles.len() >= MAX_KEPT {
            handles.remove(0);
        }
        let labels = self.labels(policy, Some(route), Some(authz));
        let metrics = &self.inbound.0.runtime.metrics;
        let new = Handles {
            policy: policy.clone(),
            route: route.clone(),
            authz: authz.clone(),
            http: metrics.inbound_http(&labels, authority.as_deref()),
            authority,
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
