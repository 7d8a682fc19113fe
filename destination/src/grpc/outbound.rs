//! An outbound policy as a message.
//!
//! Stock proxies refuse a policy that misses one of many parts, and panic on some others; what
//! they want is checked by the validator of the tests.

use super::{endpoints::weighted, meta};
use crate::view::{Backend, Outbound, Protocol};
use linkerd2_proxy_api::{
    grpc_route::GrpcRouteMatch,
    http_route::{HttpRouteMatch, PathMatch, path_match},
    opaque_route,
    outbound::{
        self as api, GrpcRoute, HttpRoute, OpaqueRoute, OutboundPolicy, ProxyProtocol, Queue,
        backend::{
            self, BalanceP2c, EndpointDiscovery, balance_p2c,
            endpoint_discovery::{self, DestinationGet},
        },
        grpc_route, http_route, opaque_route as opaque, proxy_protocol,
    },
};

/// How long a connection may take to show its protocol, in seconds.
const DETECT_TIMEOUT: i64 = 10;
/// What an endpoint is assumed to take before it was measured, in milliseconds.
const DEFAULT_RTT: u32 = 30;
/// For how long measurements count, in seconds.
const RTT_DECAY: i64 = 10;
/// Requests held while no endpoint is ready, and for how long (seconds).
const QUEUE: (u32, i64) = (100, 3);

/// The message.
pub(super) fn policy(outbound: &Outbound) -> OutboundPolicy {
    use proxy_protocol::{Detect, Grpc, Http1, Http2, Kind, Opaque};
    let http1 = || Http1 {
        routes: vec![http_route(outbound)],
        failure_accrual: None,
    };
    let http2 = || Http2 {
        routes: vec![http_route(outbound)],
        failure_accrual: None,
    };
    let opaque = || Opaque {
        routes: vec![opaque_route(outbound)],
    };
    let kind = match outbound.protocol {
        Protocol::Detect => Kind::Detect(Detect {
            timeout: meta::seconds(DETECT_TIMEOUT),
            opaque: Some(opaque()),
            http1: Some(http1()),
            http2: Some(http2()),
        }),
        Protocol::Opaque => Kind::Opaque(opaque()),
        Protocol::Http1 => Kind::Http1(http1()),
        Protocol::Http2 => Kind::Http2(http2()),
        Protocol::Grpc => Kind::Grpc(Grpc {
            routes: vec![grpc_route(outbound)],
            failure_accrual: None,
        }),
    };
    OutboundPolicy {
        protocol: Some(ProxyProtocol { kind: Some(kind) }),
        metadata: Some(meta::resource(&outbound.resource)),
    }
}

fn http_route(outbound: &Outbound) -> HttpRoute {
    use http_route::{Distribution, RouteBackend, Rule, distribution};
    let backend = |of: &Backend| RouteBackend {
        backend: Some(backend(of)),
        ..RouteBackend::default()
    };
    let first_available = distribution::FirstAvailable {
        backends: outbound.backends.iter().map(backend).collect(),
    };
    HttpRoute {
        metadata: Some(meta::default("http")),
        hosts: vec![],
        rules: vec![Rule {
            matches: vec![any_path()],
            backends: Some(Distribution {
                kind: Some(distribution::Kind::FirstAvailable(first_available)),
            }),
            ..Rule::default()
        }],
    }
}

fn grpc_route(outbound: &Outbound) -> GrpcRoute {
    use grpc_route::{Distribution, RouteBackend, Rule, distribution};
    let backend = |of: &Backend| RouteBackend {
        backend: Some(backend(of)),
        ..RouteBackend::default()
    };
    let first_available = distribution::FirstAvailable {
        backends: outbound.backends.iter().map(backend).collect(),
    };
    GrpcRoute {
        metadata: Some(meta::default("grpc")),
        hosts: vec![],
        rules: vec![Rule {
            matches: vec![GrpcRouteMatch::default()],
            backends: Some(Distribution {
                kind: Some(distribution::Kind::FirstAvailable(first_available)),
            }),
            ..Rule::default()
        }],
    }
}

fn opaque_route(outbound: &Outbound) -> OpaqueRoute {
    use opaque::{Distribution, Filter, RouteBackend, Rule, distribution, filter};
    let backend = |of: &Backend| RouteBackend {
        backend: Some(backend(of)),
        filters: vec![],
    };
    let first_available = distribution::FirstAvailable {
        backends: outbound.backends.iter().map(backend).collect(),
    };
    let forbidden = outbound.forbidden.then_some(Filter {
        kind: Some(filter::Kind::Forbidden(opaque_route::Forbidden {})),
    });
    OpaqueRoute {
        metadata: Some(meta::default("opaque")),
        rules: vec![Rule {
            backends: Some(Distribution {
                kind: Some(distribution::Kind::FirstAvailable(first_available)),
            }),
            filters: forbidden.into_iter().collect(),
        }],
    }
}

fn backend(of: &Backend) -> api::Backend {
    let (capacity, failfast) = QUEUE;
    let (resource, kind) = match of {
        Backend::Balance { resource, path } => (resource, backend::Kind::Balancer(balance(path))),
        Backend::Forward {
            resource,
            address,
            endpoint,
        } => (
            resource,
            backend::Kind::Forward(weighted(*address, endpoint)),
        ),
    };
    api::Backend {
        metadata: Some(meta::resource(resource)),
        queue: Some(Queue {
            capacity,
            failfast_timeout: meta::seconds(failfast),
        }),
        kind: Some(kind),
    }
}

fn balance(path: &str) -> BalanceP2c {
    let get = DestinationGet {
        path: path.to_owned(),
    };
    BalanceP2c {
        discovery: Some(EndpointDiscovery {
            kind: Some(endpoint_discovery::Kind::Dst(get)),
        }),
        load: Some(balance_p2c::Load::PeakEwma(balance_p2c::PeakEwma {
            default_rtt: meta::millis(DEFAULT_RTT),
            decay: meta::seconds(RTT_DECAY),
        })),
    }
}

fn any_path() -> HttpRouteMatch {
    HttpRouteMatch {
        path: Some(PathMatch {
            kind: Some(path_match::Kind::Prefix("/".to_owned())),
        }),
        ..HttpRouteMatch::default()
    }
}
