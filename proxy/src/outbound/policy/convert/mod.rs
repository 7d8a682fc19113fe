//! From the wire to the model. Total: no message panics, hangs or is half understood. A policy
//! with a mistake is [`Protocol::Invalid`] as a whole, naming the mistake, because following the
//! rest of it could send requests where nobody meant them to go.

mod tcp;

use std::{sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, StatusCode};
use linkerd2_proxy_api::{
    grpc_route as grpc_match, http_route as http_match, http_types, outbound as api,
};

use self::tcp::{opaque_routes, tls_route};
use super::{
    BackendSpec, BalancerSpec, Distribution, Failure, Filter, HeaderChange, HostMatch, HttpPolicy,
    HttpRoute, HttpRule, PathChange, PathMatch, Policy, Protocol, Redirect, RequestMatch, Retry,
    RouteBackend, ValueMatch,
};
use crate::outbound::endpoint;

/// What is wrong with a policy.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// A required field is not set.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A field cannot be understood.
    #[error("{0} is not valid: {1}")]
    Bad(&'static str, String),
}

type Result<T> = std::result::Result<T, Invalid>;

const DEFAULT_RTT: Duration = Duration::from_millis(30);
const DECAY: Duration = Duration::from_secs(10);
/// A regex may not compile to more than this; policies come from people who may misjudge one.
const REGEX_SIZE: usize = 256 * 1024;
/// Largest request body kept for a retry a route asks for.
const MAX_RETRY_BYTES: usize = 64 * 1024;

/// The policy in `message`.
pub fn policy(message: api::OutboundPolicy) -> Policy {
    let protocol = protocol(message).unwrap_or_else(|invalid| {
        tracing::warn!(%invalid, "the control plane sent a policy that cannot be followed");
        Protocol::Invalid(invalid.to_string())
    });
    Policy { protocol }
}

fn protocol(message: api::OutboundPolicy) -> Result<Protocol> {
    use api::proxy_protocol::Kind;
    let protocol = message.protocol.ok_or(Invalid::Missing("protocol"))?;
    match protocol.kind.ok_or(Invalid::Missing("protocol kind"))? {
        Kind::Detect(detect) => {
            let http1 = detect.http1.ok_or(Invalid::Missing("detect.http1"))?;
            let http2 = detect.http2.ok_or(Invalid::Missing("detect.http2"))?;
            let opaque = detect.opaque.ok_or(Invalid::Missing("detect.opaque"))?;
            Ok(Protocol::Detect {
                http1: http_routes(http1.routes, accrual(http1.failure_accrual))?,
                http2: http_routes(http2.routes, accrual(http2.failure_accrual))?,
                opaque: opaque_routes(opaque)?,
            })
        }
        Kind::Http1(http) => Ok(Protocol::Http1(http_routes(
            http.routes,
            accrual(http.failure_accrual),
        )?)),
        Kind::Http2(http) => Ok(Protocol::Http2(http_routes(
            http.routes,
            accrual(http.failure_accrual),
        )?)),
        Kind::Grpc(grpc) => {
            let max_failures = accrual(grpc.failure_accrual);
            let routes = grpc.routes.into_iter().map(|r| grpc_route(r, max_failures));
            Ok(Protocol::Http2(HttpPolicy {
                routes: routes.collect::<Result<_>>()?,
            }))
        }
        Kind::Opaque(opaque) => Ok(Protocol::Opaque(opaque_routes(opaque)?)),
        Kind::Tls(tls) => Ok(Protocol::Tls(
            tls.routes
                .into_iter()
                .map(tls_route)
                .collect::<Result<_>>()?,
        )),
    }
}

fn accrual(accrual: Option<api::FailureAccrual>) -> Option<u32> {
    use api::failure_accrual::Kind;
    let max = match accrual?.kind? {
        Kind::ConsecutiveFailures(consecutive) => consecutive.max_failures,
        Kind::Unified(unified) => unified.max_consecutive_failures,
    };
    (max > 0).then_some(max)
}

// === HTTP ===

fn http_routes(routes: Vec<api::HttpRoute>, max_failures: Option<u32>) -> Result<HttpPolicy> {
    let routes = routes.into_iter().map(|r| http_route(r, max_failures));
    Ok(HttpPolicy {
        routes: routes.collect::<Result<_>>()?,
    })
}

fn http_route(route: api::HttpRoute, max_failures: Option<u32>) -> Result<HttpRoute> {
    let hosts = route.hosts.into_iter().map(host_match);
    let rules = route.rules.into_iter().map(|r| http_rule(r, max_failures));
    Ok(HttpRoute {
        hosts: hosts.collect::<Result<_>>()?,
        rules: rules.collect::<Result<_>>()?,
    })
}

#[allow(deprecated)] // requestTimeout: older control planes send nothing else.
fn http_rule(rule: api::http_route::Rule, max_failures: Option<u32>) -> Result<HttpRule> {
    use api::http_route::distribution::Kind;
    let backend = |b: api::http_route::RouteBackend| {
        Ok(RouteBackend {
            backend: backend_spec(b.backend, max_failures)?,
            filters: http_filters(b.filters)?,
            request_timeout: duration(b.request_timeout),
        })
    };
    let distribution = rule.backends.ok_or(Invalid::Missing("rule.backends"))?;
    let distribution = match distribution.kind.ok_or(Invalid::Missing("distribution"))? {
        Kind::Empty(_) => Distribution::Empty,
        Kind::FirstAvailable(first) => first_available(first.backends, backend)?,
        Kind::RandomAvailable(random) => random_available(
            random.backends.into_iter().map(|b| (b.backend, b.weight)),
            backend,
        )?,
    };
    Ok(HttpRule {
        matches: rule
            .matches
            .into_iter()
            .map(request_match)
            .collect::<Result<_>>()?,
        filters: http_filters(rule.filters)?,
        distribution,
        request_timeout: rule
            .timeouts
            .and_then(|t| duration(t.request))
            .or_else(|| duration(rule.request_timeout)),
        retry: rule.retry.map(|retry| Retry {
            max_retries: retry.max_retries,
            max_request_bytes: retry_bytes(retry.max_request_bytes),
            statuses: retry
                .conditions
                .map(|c| c.status_ranges)
                .unwrap_or_default()
                .into_iter()
                .map(|range| (clamp(range.start), clamp(range.end)))
                .collect(),
            grpc: Vec::new(),
        }),
    })
}

fn retry_bytes(bytes: u32) -> usize {
    usize::try_from(bytes)
        .unwrap_or(MAX_RETRY_BYTES)
        .min(MAX_RETRY_BYTES)
}

fn clamp(status: u32) -> u16 {
    u16::try_from(status).unwrap_or(u16::MAX)
}

fn request_match(m: http_match::HttpRouteMatch) -> Result<RequestMatch> {
    use http_match::path_match::Kind;
    let path = m.path.map(|path| {
        Ok(match path.kind.ok_or(Invalid::Missing("path match"))? {
            Kind::Exact(path) => PathMatch::Exact(path),
            Kind::Prefix(path) => PathMatch::Prefix(path),
            Kind::Regex(expression) => PathMatch::Regex(regex(&expression)?),
        })
    });
    let query = m.query_params.into_iter().map(|param| {
        use http_match::query_param_match::Value;
        let value = match param
            .value
            .ok_or(Invalid::Missing("query parameter match"))?
        {
            Value::Exact(value) => ValueMatch::Exact(value.into_bytes()),
            Value::Regex(expression) => ValueMatch::Regex(regex(&expression)?),
        };
        Ok((param.name, value))
    });
    Ok(RequestMatch {
        path: path.transpose()?,
        headers: header_matches(m.headers)?,
        query: query.collect::<Result<_>>()?,
        method: m
            .method
            .map(|method| {
                http::Method::try_from(method)
                    .map_err(|error| Invalid::Bad("method match", error.to_string()))
            })
            .transpose()?,
    })
}

fn header_matches(matches: Vec<http_match::HeaderMatch>) -> Result<Vec<(HeaderName, ValueMatch)>> {
    use http_match::header_match::Value;
    let one = |m: http_match::HeaderMatch| {
        let value = match m.value.ok_or(Invalid::Missing("header match"))? {
            Value::Exact(value) => ValueMatch::Exact(value),
            Value::Regex(expression) => ValueMatch::Regex(regex(&expression)?),
        };
        Ok((header_name(&m.name)?, value))
    };
    matches.into_iter().map(one).collect()
}

fn http_filters(filters: Vec<api::http_route::Filter>) -> Result<Vec<Filter>> {
    use api::http_route::filter::Kind;
    let one = |filter: api::http_route::Filter| {
        Ok(match filter.kind.ok_or(Invalid::Missing("filter"))? {
            Kind::FailureInjector(fail) => Filter::Fail {
                ratio: ratio(fail.ratio)?,
                failure: Failure::Http(status(fail.status)?, fail.message),
            },
            Kind::RequestHeaderModifier(m) => {
                Filter::RequestHeaders(header_change(m.add, m.set, m.remove)?)
            }
            Kind::ResponseHeaderModifier(m) => {
                Filter::ResponseHeaders(header_change(m.add, m.set, m.remove)?)
            }
            Kind::Redirect(redirect) => Filter::Redirect(self::redirect(redirect)?),
        })
    };
    filters.into_iter().map(one).collect()
}

fn header_change(
    add: Option<http_types::Headers>,
    set: Option<http_types::Headers>,
    remove: Vec<String>,
) -> Result<HeaderChange> {
    let pairs = |headers: Option<http_types::Headers>| {
        let headers = headers.map(|h| h.headers).unwrap_or_default();
        let one = |header: http_types::headers::Header| {
            let value = HeaderValue::from_bytes(&header.value)
                .map_err(|error| Invalid::Bad("header value", error.to_string()))?;
            Ok((header_name(&header.name)?, value))
        };
        headers.into_iter().map(one).collect::<Result<Vec<_>>>()
    };
    Ok(HeaderChange {
        add: pairs(add)?,
        set: pairs(set)?,
        remove: remove
            .iter()
            .map(|name| header_name(name))
            .collect::<Result<_>>()?,
    })
}

fn redirect(redirect: http_match::RequestRedirect) -> Result<Redirect> {
    use http_match::path_modifier::Replace;
    let scheme = redirect.scheme.map(|scheme| {
        http::uri::Scheme::try_from(scheme)
            .map_err(|error| Invalid::Bad("redirect scheme", error.to_string()))
    });
    let path = redirect.path.map(|path| {
        Ok(
            match path.replace.ok_or(Invalid::Missing("redirect path"))? {
                Replace::Full(path) => PathChange::Full(path),
                Replace::Prefix(path) => PathChange::Prefix(path),
            },
        )
    });
    let status = match redirect.status {
        0 => StatusCode::FOUND,
        other => status(other)?,
    };
    Ok(Redirect {
        scheme: scheme.transpose()?,
        host: (!redirect.host.is_empty()).then_some(redirect.host),
        port: match redirect.port {
            0 => None,
            port => Some(self::port("redirect port", port)?),
        },
        path: path.transpose()?,
        status,
    })
}

// === gRPC ===

fn grpc_route(route: api::GrpcRoute, max_failures: Option<u32>) -> Result<HttpRoute> {
    let hosts = route.hosts.into_iter().map(host_match);
    let rules = route.rules.into_iter().map(|r| grpc_rule(r, max_failures));
    Ok(HttpRoute {
        hosts: hosts.collect::<Result<_>>()?,
        rules: rules.collect::<Result<_>>()?,
    })
}

#[allow(deprecated)] // As for HTTP.
fn grpc_rule(rule: api::grpc_route::Rule, max_failures: Option<u32>) -> Result<HttpRule> {
    use api::grpc_route::distribution::Kind;
    let backend = |b: api::grpc_route::RouteBackend| {
        Ok(RouteBackend {
            backend: backend_spec(b.backend, max_failures)?,
            filters: grpc_filters(b.filters)?,
            request_timeout: duration(b.request_timeout),
        })
    };
    let distribution = rule.backends.ok_or(Invalid::Missing("rule.backends"))?;
    let distribution = match distribution.kind.ok_or(Invalid::Missing("distribution"))? {
        Kind::Empty(_) => Distribution::Empty,
        Kind::FirstAvailable(first) => first_available(first.backends, backend)?,
        Kind::RandomAvailable(random) => random_available(
            random.backends.into_iter().map(|b| (b.backend, b.weight)),
            backend,
        )?,
    };
    let matches = rule.matches.into_iter().map(grpc_request_match);
    Ok(HttpRule {
        matches: matches.collect::<Result<_>>()?,
        filters: grpc_filters(rule.filters)?,
        distribution,
        request_timeout: rule
            .timeouts
            .and_then(|t| duration(t.request))
            .or_else(|| duration(rule.request_timeout)),
        retry: rule.retry.map(|retry| {
            let conditions = retry.conditions.unwrap_or_default();
            let grpc = [
                (conditions.cancelled, 1),
                (conditions.deadine_exceeded, 4),
                (conditions.resource_exhausted, 8),
                (conditions.internal, 13),
                (conditions.unavailable, 14),
            ];
            Retry {
                max_retries: retry.max_retries,
                max_request_bytes: retry_bytes(retry.max_request_bytes),
                statuses: Vec::new(),
                grpc: grpc.iter().filter(|(on, _)| *on).map(|(_, c)| *c).collect(),
            }
        }),
    })
}

/// A gRPC call is a POST to `/service/method`.
fn grpc_request_match(m: grpc_match::GrpcRouteMatch) -> Result<RequestMatch> {
    let path = m
        .rpc
        .and_then(|rpc| match (rpc.service.as_str(), rpc.method.as_str()) {
            ("", "") => None,
            (service, "") => Some(Ok(PathMatch::Prefix(format!("/{service}")))),
            ("", method) => {
                let expression = format!("/[^/]+/{}", regex::escape(method));
                Some(self::regex(&expression).map(PathMatch::Regex))
            }
            (service, method) => Some(Ok(PathMatch::Exact(format!("/{service}/{method}")))),
        });
    Ok(RequestMatch {
        path: path.transpose()?,
        headers: header_matches(m.headers)?,
        query: Vec::new(),
        method: None,
    })
}

fn grpc_filters(filters: Vec<api::grpc_route::Filter>) -> Result<Vec<Filter>> {
    use api::grpc_route::filter::Kind;
    let one = |filter: api::grpc_route::Filter| {
        Ok(match filter.kind.ok_or(Invalid::Missing("filter"))? {
            Kind::FailureInjector(fail) => Filter::Fail {
                ratio: ratio(fail.ratio)?,
                failure: Failure::Grpc(clamp(fail.code), fail.message),
            },
            Kind::RequestHeaderModifier(m) => {
                Filter::RequestHeaders(header_change(m.add, m.set, m.remove)?)
            }
        })
    };
    filters.into_iter().map(one).collect()
}

// === backends ===

fn first_available<B>(
    backends: Vec<B>,
    convert: impl Fn(B) -> Result<RouteBackend>,
) -> Result<Distribution> {
    if backends.is_empty() {
        return Err(Invalid::Missing("first_available.backends"));
    }
    let backends = backends.into_iter().map(convert).collect::<Result<_>>()?;
    Ok(Distribution::FirstAvailable(backends))
}

fn random_available<B>(
    backends: impl Iterator<Item = (Option<B>, u32)>,
    convert: impl Fn(B) -> Result<RouteBackend>,
) -> Result<Distribution> {
    let one = |(backend, weight): (Option<B>, u32)| {
        Ok((
            convert(backend.ok_or(Invalid::Missing("backend"))?)?,
            weight,
        ))
    };
    let mut backends = backends.map(one).collect::<Result<Vec<_>>>()?;
    if backends.is_empty() {
        return Err(Invalid::Missing("random_available.backends"));
    }
    // A weight of zero means none of the traffic, unless it is all there is.
    if backends.iter().any(|(_, weight)| *weight > 0) {
        backends.retain(|(_, weight)| *weight > 0);
    } else {
        backends.iter_mut().for_each(|(_, weight)| *weight = 1);
    }
    Ok(Distribution::RandomAvailable(backends))
}

fn backend_spec(backend: Option<api::Backend>, max_failures: Option<u32>) -> Result<BackendSpec> {
    use api::backend::{Kind, balance_p2c::Load, endpoint_discovery};
    let backend = backend.ok_or(Invalid::Missing("backend"))?;
    match backend.kind {
        None => Ok(BackendSpec::Fail(
            "the backend of this route does not exist".to_owned(),
        )),
        Some(Kind::Forward(addr)) => {
            let (addr, metadata) = endpoint::convert(&Default::default(), addr)
                .map_err(|error| Invalid::Bad("forward", error))?;
            Ok(BackendSpec::Forward(addr, Box::new(metadata)))
        }
        Some(Kind::Balancer(balancer)) => {
            let discovery = balancer.discovery.and_then(|d| d.kind);
            let endpoint_discovery::Kind::Dst(dst) =
                discovery.ok_or(Invalid::Missing("balancer.discovery"))?;
            let (default_rtt, decay) = match balancer.load {
                Some(Load::PeakEwma(load)) => (load.default_rtt, load.decay),
                Some(Load::PenaltyPeakEwma(load)) => (load.default_rtt, load.decay),
                None => (None, None),
            };
            Ok(BackendSpec::Balancer(BalancerSpec {
                path: path(&dst.path)?,
                default_rtt: duration(default_rtt).unwrap_or(DEFAULT_RTT),
                decay: duration(decay).unwrap_or(DECAY),
                max_failures,
            }))
        }
    }
}

/// `name:port` with a port that exists.
fn path(path: &str) -> Result<Arc<str>> {
    let bad = || Invalid::Bad("balancer path", format!("{path:?} is not name:port"));
    let (name, port) = path.rsplit_once(':').ok_or_else(bad)?;
    let port: u16 = port.parse().map_err(|_| bad())?;
    if name.is_empty() || port == 0 || name.len() > 253 {
        return Err(bad());
    }
    Ok(path.into())
}

// === small things ===

fn host_match(host: http_match::HostMatch) -> Result<HostMatch> {
    use http_match::host_match::Match;
    Ok(match host.r#match.ok_or(Invalid::Missing("host match"))? {
        Match::Exact(name) => exact(&name),
        Match::Suffix(suffix) => reverse_suffix(&suffix.reverse_labels),
    })
}

fn exact(name: &str) -> HostMatch {
    HostMatch::Exact(name.trim_end_matches('.').to_ascii_lowercase())
}

fn reverse_suffix(labels: &[String]) -> HostMatch {
    let labels: Vec<_> = labels
        .iter()
        .rev()
        .map(|l| l.to_ascii_lowercase())
        .collect();
    HostMatch::Suffix(labels.join("."))
}

fn regex(expression: &str) -> Result<regex::Regex> {
    regex::RegexBuilder::new(expression)
        .size_limit(REGEX_SIZE)
        .build()
        .map_err(|error| Invalid::Bad("regex", error.to_string()))
}

fn header_name(name: &str) -> Result<HeaderName> {
    HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| Invalid::Bad("header name", format!("{name:?}")))
}

fn status(status: u32) -> Result<StatusCode> {
    u16::try_from(status)
        .ok()
        .and_then(|status| StatusCode::from_u16(status).ok())
        .ok_or_else(|| Invalid::Bad("status", status.to_string()))
}

fn port(what: &'static str, port: u32) -> Result<u16> {
    match u16::try_from(port) {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(Invalid::Bad(what, port.to_string())),
    }
}

fn ratio(ratio: Option<http_match::Ratio>) -> Result<(u32, u32)> {
    match ratio {
        None => Ok((1, 1)),
        Some(http_match::Ratio { denominator: 0, .. }) => {
            Err(Invalid::Bad("ratio", "its denominator is zero".to_owned()))
        }
        Some(ratio) => Ok((ratio.numerator, ratio.denominator)),
    }
}

/// Durations that are absent, zero or negative set no limit.
pub fn duration(duration: Option<prost_types::Duration>) -> Option<Duration> {
    let duration = duration?;
    let seconds = u64::try_from(duration.seconds).ok()?;
    let nanos = u32::try_from(duration.nanos).ok()?.min(999_999_999);
    let duration = Duration::new(seconds, nanos);
    (!duration.is_zero()).then_some(duration)
}
