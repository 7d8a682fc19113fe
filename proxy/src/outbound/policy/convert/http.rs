//! Routes of HTTP and gRPC requests.

use std::{sync::Arc, time::Duration};

use linkerd2_proxy_api::{http_route as wire, outbound as api};

use super::{
    Result,
    backend::{backend_object, backend_spec},
    distribution, duration, pauses,
};
use crate::{
    http::{
        filter::Filter,
        route::{Invalid, RequestMatch, Route, Rule, hosts},
    },
    metrics::Object,
    outbound::{
        policy::{
            Accrual, Action, HttpPolicy, Retry, RouteBackend, RouteKind, RouteName, Timeouts,
            names::object,
        },
        replay::MAX_KEPT,
    },
};

/// Pauses between attempts where the policy wants some but does not say how long.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(25), Duration::from_millis(250));

pub(super) fn http_routes(
    parent: &Arc<Object>,
    routes: Vec<api::HttpRoute>,
    accrual: Option<Accrual>,
) -> Result<HttpPolicy> {
    let routes = routes.into_iter().map(|route| {
        let name = RouteName::new(RouteKind::Http, parent, object(route.metadata));
        let rules = route.rules.into_iter();
        let rules = rules.map(|rule| http_rule(&name, rule, accrual));
        Ok(Route {
            hosts: hosts(route.hosts)?,
            rules: rules.collect::<Result<_>>()?,
        })
    });
    Ok(HttpPolicy {
        routes: routes.collect::<Result<_>>()?,
    })
}

pub(super) fn grpc_routes(
    parent: &Arc<Object>,
    routes: Vec<api::GrpcRoute>,
    accrual: Option<Accrual>,
) -> Result<HttpPolicy> {
    let routes = routes.into_iter().map(|route| {
        let name = RouteName::new(RouteKind::Grpc, parent, object(route.metadata));
        let rules = route.rules.into_iter();
        let rules = rules.map(|rule| grpc_rule(&name, rule, accrual));
        Ok(Route {
            hosts: hosts(route.hosts)?,
            rules: rules.collect::<Result<_>>()?,
        })
    });
    Ok(HttpPolicy {
        routes: routes.collect::<Result<_>>()?,
    })
}

#[allow(deprecated)] // requestTimeout: older control planes send nothing else.
fn http_rule(
    name: &Arc<RouteName>,
    rule: api::http_route::Rule,
    accrual: Option<Accrual>,
) -> Result<Rule<Action>> {
    let backend = |b: api::http_route::RouteBackend| {
        let name = name.backend(backend_object(&b.backend));
        Ok(RouteBackend {
            name,
            backend: backend_spec(b.backend, accrual)?,
            filters: filters(b.filters, http_filter)?,
            request_timeout: duration(b.request_timeout),
        })
    };
    let matches = rule.matches.into_iter().map(RequestMatch::http);
    let retry = rule.retry.map(|retry| {
        let ranges = retry.conditions.unwrap_or_default().status_ranges;
        let range =
            |r: api::http_route::retry::conditions::StatusRange| (clamp(r.start), clamp(r.end));
        Retry {
            statuses: ranges.into_iter().map(range).collect(),
            ..self::retry(
                (retry.max_retries, retry.max_request_bytes),
                retry.timeout,
                retry.backoff,
            )
        }
    });
    Ok(Rule {
        matches: matches.collect::<Result<_>>()?,
        filters: filters(rule.filters, http_filter)?,
        then: Action {
            name: name.clone(),
            distribution: distribution!(http_route, rule.backends, backend),
            timeouts: timeouts(rule.timeouts, rule.request_timeout),
            retry,
            overridable: rule.allow_l5d_request_headers,
        },
    })
}

#[allow(deprecated)] // As for HTTP.
fn grpc_rule(
    name: &Arc<RouteName>,
    rule: api::grpc_route::Rule,
    accrual: Option<Accrual>,
) -> Result<Rule<Action>> {
    let backend = |b: api::grpc_route::RouteBackend| {
        let name = name.backend(backend_object(&b.backend));
        Ok(RouteBackend {
            name,
            backend: backend_spec(b.backend, accrual)?,
            filters: filters(b.filters, grpc_filter)?,
            request_timeout: duration(b.request_timeout),
        })
    };
    let matches = rule.matches.into_iter().map(RequestMatch::grpc);
    let retry = rule.retry.map(|retry| {
        let on = retry.conditions.unwrap_or_default();
        let codes = [
            (on.cancelled, 1),
            (on.deadine_exceeded, 4),
            (on.resource_exhausted, 8),
            (on.internal, 13),
            (on.unavailable, 14),
        ];
        let codes = codes.into_iter().filter(|(on, _)| *on);
        Retry {
            grpc: codes.map(|(_, code)| code).collect(),
            ..self::retry(
                (retry.max_retries, retry.max_request_bytes),
                retry.timeout,
                retry.backoff,
            )
        }
    });
    Ok(Rule {
        matches: matches.collect::<Result<_>>()?,
        filters: filters(rule.filters, grpc_filter)?,
        then: Action {
            name: name.clone(),
            distribution: distribution!(grpc_route, rule.backends, backend),
            timeouts: timeouts(rule.timeouts, rule.request_timeout),
            retry,
            overridable: rule.allow_l5d_request_headers,
        },
    })
}

fn timeouts(wanted: Option<wire::Timeouts>, legacy: Option<prost_types::Duration>) -> Timeouts {
    let wanted = wanted.unwrap_or_default();
    Timeouts {
        request: duration(wanted.request).or_else(|| duration(legacy)),
        response: duration(wanted.response),
        idle: duration(wanted.idle),
        headers: None,
    }
}

/// A retry that wants nothing yet.
fn retry(
    (max_retries, max_request_bytes): (u32, u32),
    timeout: Option<prost_types::Duration>,
    backoff: Option<api::ExponentialBackoff>,
) -> Retry {
    Retry {
        max_retries,
        max_request_bytes: usize::try_from(max_request_bytes)
            .unwrap_or(MAX_KEPT)
            .min(MAX_KEPT),
        statuses: Vec::new(),
        grpc: Vec::new(),
        timeout: duration(timeout),
        backoff: backoff.map(|backoff| pauses(backoff, BACKOFF.0, BACKOFF.1)),
        budget: None,
    }
}

fn filters<F>(filters: Vec<F>, convert: impl Fn(F) -> Result<Filter>) -> Result<Arc<[Filter]>> {
    filters.into_iter().map(convert).collect()
}

fn http_filter(filter: api::http_route::Filter) -> Result<Filter> {
    use api::http_route::filter::Kind;
    match filter.kind.ok_or(Invalid::Missing("filter"))? {
        Kind::FailureInjector(fail) => Filter::fail_http(fail),
        Kind::RequestHeaderModifier(change) => Filter::request_headers(change),
        Kind::ResponseHeaderModifier(change) => Filter::response_headers(change),
        Kind::Redirect(redirect) => Filter::redirect(redirect),
    }
}

fn grpc_filter(filter: api::grpc_route::Filter) -> Result<Filter> {
    use api::grpc_route::filter::Kind;
    match filter.kind.ok_or(Invalid::Missing("filter"))? {
        Kind::FailureInjector(fail) => Filter::fail_grpc(fail),
        Kind::RequestHeaderModifier(change) => Filter::request_headers(change),
    }
}

fn clamp(status: u32) -> u16 {
    u16::try_from(status).unwrap_or(u16::MAX)
}
