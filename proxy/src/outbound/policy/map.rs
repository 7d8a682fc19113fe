//! A policy with each of its backends replaced by something else: specs become live ones.

use std::sync::Arc;

use super::{
    Action, BackendName, Distribution, HttpPolicy, Policy, Protocol, RouteBackend, TcpRoute,
    TlsRoute,
};

impl<B> Policy<B> {
    /// The same policy with each backend replaced by what `f` makes of it.
    pub fn map<C>(self, f: &mut impl FnMut(B, &Arc<BackendName>) -> C) -> Policy<C> {
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
            Protocol::Tls(routes) => {
                let routes = routes.into_iter().map(|route| TlsRoute {
                    snis: route.snis,
                    route: route.route.map(f),
                });
                Protocol::Tls(routes.collect())
            }
            Protocol::Invalid(why) => Protocol::Invalid(why),
        };
        Policy {
            parent: self.parent,
            protocol,
        }
    }
}

impl<B> HttpPolicy<B> {
    fn map<C>(self, f: &mut impl FnMut(B, &Arc<BackendName>) -> C) -> HttpPolicy<C> {
        let mut action = |action: Action<B>| Action {
            name: action.name,
            distribution: action.distribution.map(f),
            timeouts: action.timeouts,
            retry: action.retry,
            overridable: action.overridable,
        };
        let routes = self.routes.into_iter().map(|route| route.map(&mut action));
        HttpPolicy {
            routes: routes.collect(),
        }
    }
}

impl<B> TcpRoute<B> {
    fn map<C>(self, f: &mut impl FnMut(B, &Arc<BackendName>) -> C) -> TcpRoute<C> {
        TcpRoute {
            distribution: self.distribution.map(|d| d.map(f)),
        }
    }
}

impl<B> Distribution<B> {
    fn map<C>(self, f: &mut impl FnMut(B, &Arc<BackendName>) -> C) -> Distribution<C> {
        let mut one = |b: RouteBackend<B>| RouteBackend {
            backend: f(b.backend, &b.name),
            name: b.name,
            filters: b.filters,
            request_timeout: b.request_timeout,
        };
        match self {
            Self::Empty => Distribution::Empty,
            Self::FirstAvailable(backends) => {
                Distribution::FirstAvailable(backends.into_iter().map(one).collect())
            }
            Self::RandomAvailable(backends) => Distribution::RandomAvailable(
                backends.into_iter().map(|(b, w)| (one(b), w)).collect(),
            ),
        }
    }
}
