//! What the control plane wants done with a target, as plain data.
//!
//! [`convert`] makes it from the wire (total: whatever arrives becomes a value, an unusable policy
//! becomes [`Protocol::Invalid`]), [`profile`] from a ServiceProfile, [`crate::http::route`] chooses
//! the rule of a request. Nothing here knows endpoints: a [`BackendSpec`] names them,
//! `super::backend` reaches them. The type parameter of a policy is what its backends are: specs
//! here, live ones there.

pub mod convert;
mod map;
pub mod names;
pub mod profile;
pub mod spec;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use crate::{
    Error,
    http::{
        filter::Filter,
        route::{HostMatch, Route, best_host},
    },
    metrics::Object,
};

pub use names::{BackendName, RouteKind, RouteName};
pub use spec::{Accrual, BackendSpec, BalancerSpec, Pauses, Penalty, Queue, SuccessRate};

/// A target's policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy<B = BackendSpec> {
    /// Whose policy it is.
    pub parent: Arc<Object>,
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
    pub routes: Vec<Route<Action<B>>>,
}

/// What to do with requests that take a rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Action<B = BackendSpec> {
    /// The route.
    pub name: Arc<RouteName>,
    /// Where to.
    pub distribution: Distribution<B>,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// Which answers are asked for again.
    pub retry: Option<Retry>,
    /// Whether requests may say otherwise themselves, in `l5d-retry-*` and `l5d-*timeout` headers.
    pub overridable: bool,
}

/// How long a request may take; `None`: as long as it likes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// From arrival to the end of the response, retries included.
    pub request: Option<Duration>,
    /// From the end of the request (or the beginning of the response) to the end of the response.
    pub response: Option<Duration>,
    /// Without a byte in either direction.
    pub idle: Option<Duration>,
    /// From arrival to the beginning of the response, retries included: what ServiceProfiles mean.
    pub headers: Option<Duration>,
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
    /// How long one attempt may take to begin its response, if another may follow.
    pub timeout: Option<Duration>,
    /// Pauses before attempts.
    pub backoff: Option<Pauses>,
    /// How many of all requests may be repeated; `None`: as for any other retry.
    pub budget: Option<super::retry::Limits>,
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
    /// Which backend of which route.
    pub name: Arc<BackendName>,
    /// Who serves.
    pub backend: B,
    /// Applied once this backend was chosen.
    pub filters: Arc<[Filter]>,
    /// For one attempt at this backend.
    pub request_timeout: Option<Duration>,
}

impl<B> RouteBackend<B> {
    /// A backend of which nothing more is said.
    pub fn just(name: Arc<BackendName>, backend: B) -> Self {
        Self {
            name,
            backend,
            filters: Arc::default(),
            request_timeout: None,
        }
    }
}

impl<B> Action<B> {
    /// To go somewhere, and nothing more.
    pub fn to(name: Arc<RouteName>, distribution: Distribution<B>) -> Self {
        Self {
            name,
            distribution,
            timeouts: Timeouts::default(),
            retry: None,
            overridable: false,
        }
    }
}

impl<B> Protocol<B> {
    /// What metrics call it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Detect { .. } | Self::Invalid(_) => "detect",
            Self::Http1(_) => "http/1",
            Self::Http2(_) => "http/2",
            Self::Opaque(_) => "opaq",
            Self::Tls(_) => "tls",
        }
    }
}

impl<B: Clone> Policy<B> {
    /// A policy for a target of which only a backend is known. Metrics call all of it `name`.
    pub fn just(name: &str, backend: B) -> Self {
        let first = |route: &Arc<RouteName>| {
            let name = route.backend(route.parent.clone());
            Distribution::FirstAvailable(vec![RouteBackend::just(name, backend.clone())])
        };
        let http = RouteName::implicit(RouteKind::Http, name);
        let tcp = RouteName::implicit(RouteKind::Tcp, name);
        let distribution = first(&http);
        let routes = vec![Route::any(Action::to(http, distribution))];
        let opaque = first(&tcp);
        Self::detect(tcp.parent.clone(), routes, opaque)
    }

    /// Looks at the first bytes: these routes if they are HTTP.
    pub fn detect(
        parent: Arc<Object>,
        routes: Vec<Route<Action<B>>>,
        opaque: Distribution<B>,
    ) -> Self {
        Self {
            parent,
            protocol: Protocol::Detect {
                http1: HttpPolicy {
                    routes: routes.clone(),
                },
                http2: HttpPolicy { routes },
                opaque: TcpRoute {
                    distribution: Ok(opaque),
                },
            },
        }
    }
}

impl<B> Policy<B> {
    /// Where bytes go that are not HTTP, or must not be looked at.
    pub fn opaque(&self) -> Result<&Distribution<B>, Error> {
        let refuse = |why: &str| Err(Error::Fail(why.to_owned()));
        match &self.protocol {
            Protocol::Detect { opaque, .. } | Protocol::Opaque(opaque) => opaque.distribution(),
            Protocol::Http1(http) | Protocol::Http2(http) => {
                let mut rules = http.routes.iter().flat_map(|route| &route.rules);
                match rules.next() {
                    Some(rule) => Ok(&rule.then.distribution),
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
            .filter_map(|route| Some((best_host(&route.snis, sni.as_deref())?, route)));
        // The first received among equally specific ones.
        let best = fitting.reduce(|best, next| if next.0 > best.0 { next } else { best });
        let (_, route) = best.ok_or(Error::RouteNotFound)?;
        route.route.distribution()
    }
}

impl<B> TcpRoute<B> {
    /// The backends, or why there are none for anybody.
    fn distribution(&self) -> Result<&Distribution<B>, Error> {
        let refused = |why: &String| Error::Fail(why.clone());
        self.distribution.as_ref().map_err(refused)
    }
}
