//! What the control plane wants done with a target, as plain data.
//!
//! [`convert`] makes it from the wire (total: whatever arrives becomes a value, an unusable policy
//! becomes [`Protocol::Invalid`]), [`matching`] chooses the rule of a request, [`filter`] applies
//! filters. Nothing here knows endpoints: a [`BackendSpec`] names them, `super::backend` reaches
//! them. The type parameter of a policy is what its backends are: specs here, live ones there.

pub mod convert;
pub mod filter;
pub mod matching;
#[cfg(test)]
mod tests;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use super::endpoint::Metadata;
use crate::Error;

/// A target's policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy<B = BackendSpec> {
    /// How its connections are treated.
    pub protocol: Protocol<B>,
}

/// How the connections of a target are treated.
#[derive(Clone, Debug, PartialEq)]
pub enum Protocol<B = BackendSpec> {
    /// Look at the first bytes.
    Detect {
        /// HTTP/1 connections.
        http1: HttpPolicy<B>,
        /// HTTP/2 connections.
        http2: HttpPolicy<B>,
        /// Everything else.
        opaque: TcpRoute<B>,
    },
    /// HTTP/1 without looking.
    Http1(HttpPolicy<B>),
    /// HTTP/2 (gRPC too) without looking.
    Http2(HttpPolicy<B>),
    /// Bytes.
    Opaque(TcpRoute<B>),
    /// Somebody else's TLS, routed by SNI.
    Tls(Vec<TlsRoute<B>>),
    /// Cannot be followed, and why.
    Invalid(String),
}

/// Routes of HTTP requests.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpPolicy<B = BackendSpec> {
    /// In the order received.
    pub routes: Vec<HttpRoute<B>>,
}

/// Rules for some hosts.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpRoute<B = BackendSpec> {
    /// Which hosts; empty: all.
    pub hosts: Vec<HostMatch>,
    /// In the order received.
    pub rules: Vec<HttpRule<B>>,
}

/// What to do with requests that match.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpRule<B = BackendSpec> {
    /// Any of these; empty: every request.
    pub matches: Vec<RequestMatch>,
    /// Applied in order, before a backend is chosen.
    pub filters: Vec<Filter>,
    /// Where to.
    pub distribution: Distribution<B>,
    /// From arrival to the end of the response.
    pub request_timeout: Option<Duration>,
    /// Which answers are asked for again.
    pub retry: Option<Retry>,
}

/// Which answers are asked for again, whatever the method: the owner of the route says so.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// How often.
    pub max_retries: u32,
    /// Largest request body kept for it.
    pub max_request_bytes: usize,
    /// Inclusive ranges of status codes.
    pub statuses: Vec<(u16, u16)>,
    /// `grpc-status` codes.
    pub grpc: Vec<u16>,
}

/// A name to match a host or SNI with, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostMatch {
    /// The whole name.
    Exact(String),
    /// Everything below `.suffix`.
    Suffix(String),
}

/// Every condition given must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RequestMatch {
    /// The path.
    pub path: Option<PathMatch>,
    /// Headers.
    pub headers: Vec<(http::HeaderName, ValueMatch)>,
    /// Query parameters.
    pub query: Vec<(String, ValueMatch)>,
    /// The method.
    pub method: Option<http::Method>,
}

/// A condition on a path.
#[derive(Clone, Debug)]
pub enum PathMatch {
    /// The whole path.
    Exact(String),
    /// Whole segments from the start.
    Prefix(String),
    /// The whole path matches.
    Regex(regex::Regex),
}

/// A condition on a header or parameter.
#[derive(Clone, Debug)]
pub enum ValueMatch {
    /// These bytes.
    Exact(Vec<u8>),
    /// The whole value matches.
    Regex(regex::Regex),
}

/// A change to, or an answer instead of, a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    /// Changes request headers.
    RequestHeaders(HeaderChange),
    /// Changes response headers.
    ResponseHeaders(HeaderChange),
    /// Answers with a redirect.
    Redirect(Redirect),
    /// Answers with a failure.
    Fail {
        /// What share of requests, as numerator and denominator.
        ratio: (u32, u32),
        /// Which failure.
        failure: Failure,
    },
}

/// An injected failure.
#[derive(Clone, Debug, PartialEq)]
pub enum Failure {
    /// An HTTP status.
    Http(http::StatusCode, String),
    /// A gRPC status.
    Grpc(u16, String),
}

/// Headers removed, set and added, in this order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeaderChange {
    /// Appended.
    pub add: Vec<(http::HeaderName, http::HeaderValue)>,
    /// Replaced.
    pub set: Vec<(http::HeaderName, http::HeaderValue)>,
    /// Removed.
    pub remove: Vec<http::HeaderName>,
}

/// Where a request is redirected to; what is `None` stays as it was.
#[derive(Clone, Debug, PartialEq)]
pub struct Redirect {
    /// `http` or `https`.
    pub scheme: Option<http::uri::Scheme>,
    /// Host.
    pub host: Option<String>,
    /// Port.
    pub port: Option<u16>,
    /// Path.
    pub path: Option<PathChange>,
    /// Status of the answer.
    pub status: http::StatusCode,
}

/// A new path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathChange {
    /// Replaces all of it.
    Full(String),
    /// Replaces the prefix that matched.
    Prefix(String),
}

/// Where opaque connections go.
#[derive(Clone, Debug, PartialEq)]
pub struct TcpRoute<B = BackendSpec> {
    /// The backends; `Err` if connections must be refused, and why.
    pub distribution: Result<Distribution<B>, String>,
}

/// Where TLS connections for some names go.
#[derive(Clone, Debug, PartialEq)]
pub struct TlsRoute<B = BackendSpec> {
    /// Which names; empty: all.
    pub snis: Vec<HostMatch>,
    /// Where to.
    pub route: TcpRoute<B>,
}

/// How backends share.
#[derive(Clone, Debug, PartialEq)]
pub enum Distribution<B = BackendSpec> {
    /// There is nowhere to go.
    Empty,
    /// The first that can serve.
    FirstAvailable(Vec<RouteBackend<B>>),
    /// By weight among those that can serve.
    RandomAvailable(Vec<(RouteBackend<B>, u32)>),
}

/// A backend within a route.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteBackend<B = BackendSpec> {
    /// Who serves.
    pub backend: B,
    /// Applied once this backend was chosen.
    pub filters: Vec<Filter>,
    /// For one attempt at this backend.
    pub request_timeout: Option<Duration>,
}

/// Who serves, by name.
#[derive(Clone, Debug, PartialEq)]
pub enum BackendSpec {
    /// Endpoints that discovery lists.
    Balancer(BalancerSpec),
    /// One endpoint.
    Forward(SocketAddr, Box<Metadata>),
    /// Nobody, and why.
    Fail(String),
}

/// A balancer: equal specs share one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BalancerSpec {
    /// `name:port`, asked of `Destination.Get`.
    pub path: Arc<str>,
    /// Expected latency of an endpoint that was not measured yet.
    pub default_rtt: Duration,
    /// How fast old measurements fade.
    pub decay: Duration,
    /// Consecutive failures that take an endpoint out, if the policy says so.
    pub max_failures: Option<u32>,
}

impl PartialEq for PathMatch {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(a), Self::Exact(b)) | (Self::Prefix(a), Self::Prefix(b)) => a == b,
            (Self::Regex(a), Self::Regex(b)) => a.as_str() == b.as_str(),
            _ => false,
        }
    }
}

impl PartialEq for ValueMatch {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(a), Self::Exact(b)) => a == b,
            (Self::Regex(a), Self::Regex(b)) => a.as_str() == b.as_str(),
            _ => false,
        }
    }
}

impl<B> Policy<B> {
    /// A policy for a target of which only a backend is known.
    pub fn just(backend: B) -> Self
    where
        B: Clone,
    {
        let distribution = || {
            Distribution::FirstAvailable(vec![RouteBackend {
                backend: backend.clone(),
                filters: Vec::new(),
                request_timeout: None,
            }])
        };
        let http = || HttpPolicy {
            routes: vec![HttpRoute {
                hosts: Vec::new(),
                rules: vec![HttpRule {
                    matches: Vec::new(),
                    filters: Vec::new(),
                    distribution: distribution(),
                    request_timeout: None,
                    retry: None,
                }],
            }],
        };
        Self {
            protocol: Protocol::Detect {
                http1: http(),
                http2: http(),
                opaque: TcpRoute {
                    distribution: Ok(distribution()),
                },
            },
        }
    }

    /// The same policy with each backend replaced by what `f` makes of it.
    pub fn map<C>(self, f: &mut impl FnMut(B) -> C) -> Policy<C> {
        let protocol = match self.protocol {
            Protocol::Detect {
                http1,
                http2,
                opaque,
            } => Protocol::Detect {
                http1: http1.map(f),
                http2: http2.map(f),
                opaque: opaque.map(f),
            },
            Protocol::Http1(http) => Protocol::Http1(http.map(f)),
            Protocol::Http2(http) => Protocol::Http2(http.map(f)),
            Protocol::Opaque(route) => Protocol::Opaque(route.map(f)),
            Protocol::Tls(routes) => Protocol::Tls(
                routes
                    .into_iter()
                    .map(|route| TlsRoute {
                        snis: route.snis,
                        route: route.route.map(f),
                    })
                    .collect(),
            ),
            Protocol::Invalid(why) => Protocol::Invalid(why),
        };
        Policy { protocol }
    }
}

impl<B> HttpPolicy<B> {
    fn map<C>(self, f: &mut impl FnMut(B) -> C) -> HttpPolicy<C> {
        let rule = |rule: HttpRule<B>, f: &mut _| HttpRule {
            matches: rule.matches,
            filters: rule.filters,
            distribution: rule.distribution.map(f),
            request_timeout: rule.request_timeout,
            retry: rule.retry,
        };
        HttpPolicy {
            routes: self
                .routes
                .into_iter()
                .map(|route| HttpRoute {
                    hosts: route.hosts,
                    rules: route.rules.into_iter().map(|r| rule(r, f)).collect(),
                })
                .collect(),
        }
    }
}

impl<B> TcpRoute<B> {
    fn map<C>(self, f: &mut impl FnMut(B) -> C) -> TcpRoute<C> {
        TcpRoute {
            distribution: self.distribution.map(|d| d.map(f)),
        }
    }
}

impl<B> Distribution<B> {
    fn map<C>(self, f: &mut impl FnMut(B) -> C) -> Distribution<C> {
        let one = |b: RouteBackend<B>, f: &mut dyn FnMut(B) -> C| RouteBackend {
            backend: f(b.backend),
            filters: b.filters,
            request_timeout: b.request_timeout,
        };
        match self {
            Self::Empty => Distribution::Empty,
            Self::FirstAvailable(backends) => {
                Distribution::FirstAvailable(backends.into_iter().map(|b| one(b, f)).collect())
            }
            Self::RandomAvailable(backends) => Distribution::RandomAvailable(
                backends.into_iter().map(|(b, w)| (one(b, f), w)).collect(),
            ),
        }
    }
}

impl<B> Policy<B> {
    /// Where bytes go that are not HTTP, or must not be looked at.
    pub fn opaque(&self) -> Result<&Distribution<B>, Error> {
        let refuse = |why: &str| Err(Error::Fail(why.to_owned()));
        match &self.protocol {
            Protocol::Detect { opaque, .. } | Protocol::Opaque(opaque) => {
                match &opaque.distribution {
                    Ok(distribution) => Ok(distribution),
                    Err(why) => refuse(why),
                }
            }
            Protocol::Http1(http) | Protocol::Http2(http) => {
                let mut rules = http.routes.iter().flat_map(|route| &route.rules);
                match rules.next() {
                    Some(rule) => Ok(&rule.distribution),
                    None => refuse("the policy has no route"),
                }
            }
            Protocol::Tls(_) => refuse("the policy expects TLS"),
            Protocol::Invalid(why) => Err(Error::InvalidPolicy(why.clone())),
        }
    }

    /// The routes of requests in this version.
    pub fn http(&self, version: http::Version) -> Result<&HttpPolicy<B>, Error> {
        match &self.protocol {
            Protocol::Detect { http2, .. } if version == http::Version::HTTP_2 => Ok(http2),
            Protocol::Detect { http1, .. } => Ok(http1),
            Protocol::Http1(http) | Protocol::Http2(http) => Ok(http),
            Protocol::Opaque(_) | Protocol::Tls(_) => Err(Error::Fail(
                "this port is not HTTP to the mesh; use CONNECT to reach it".to_owned(),
            )),
            Protocol::Invalid(why) => Err(Error::InvalidPolicy(why.clone())),
        }
    }

    /// Where TLS connections for a name go.
    pub fn tls(&self, sni: Option<&str>) -> Result<&Distribution<B>, Error> {
        let Protocol::Tls(routes) = &self.protocol else {
            return self.opaque();
        };
        let sni = sni.map(|name| name.trim_end_matches('.').to_ascii_lowercase());
        let fitting = routes
            .iter()
            .filter_map(|route| Some((matching::best_host(&route.snis, sni.as_deref())?, route)));
        // The first received among equally specific ones.
        let best = fitting.reduce(|best, next| if next.0 > best.0 { next } else { best });
        match best {
            Some((_, route)) => match &route.route.distribution {
                Ok(distribution) => Ok(distribution),
                Err(why) => Err(Error::Fail(why.clone())),
            },
            None => Err(Error::RouteNotFound),
        }
    }
}
