//! Answers of a control plane in the shapes stock ones have.

use std::net::SocketAddr;

use linkerd2_proxy_api::{
    destination::{
        AuthorityOverride, ProtocolHint, TlsIdentity, WeightedAddr, protocol_hint,
        tls_identity::{DnsLikeIdentity, Strategy},
    },
    inbound as server, meta,
    outbound::{
        Backend, HttpRoute, OpaqueRoute, OutboundPolicy, ProxyProtocol, Queue, backend, http_route,
        opaque_route,
        proxy_protocol::{Detect, Http1, Http2, Kind, Opaque},
    },
};

/// One route, HTTP or not, over the endpoints of `path`.
pub fn service(path: &str) -> OutboundPolicy {
    routes(path, vec![http_route(path, Vec::new())])
}

/// These HTTP routes, and one for everything else over the endpoints of `path`.
pub fn routes(path: &str, routes: Vec<HttpRoute>) -> OutboundPolicy {
    let detect = Detect {
        timeout: Some(seconds(10)),
        opaque: Some(opaque(path)),
        http1: Some(Http1 {
            routes: routes.clone(),
            failure_accrual: None,
        }),
        http2: Some(Http2 {
            routes,
            failure_accrual: None,
        }),
    };
    policy(Kind::Detect(detect))
}

/// Bytes that are not looked at, to the endpoints of `path`.
pub fn opaque_service(path: &str) -> OutboundPolicy {
    policy(Kind::Opaque(opaque(path)))
}

/// A route for requests that match (no matches: all), to the endpoints of `path`.
pub fn http_route(
    path: &str,
    matches: Vec<linkerd2_proxy_api::http_route::HttpRouteMatch>,
) -> HttpRoute {
    use http_route::{Distribution, RouteBackend, Rule, distribution as kind};
    let backend = RouteBackend {
        backend: Some(balancer(path)),
        ..Default::default()
    };
    let backends = kind::FirstAvailable {
        backends: vec![backend],
    };
    HttpRoute {
        metadata: Some(metadata("default")),
        hosts: Vec::new(),
        rules: vec![Rule {
            matches,
            backends: Some(Distribution {
                kind: Some(kind::Kind::FirstAvailable(backends)),
            }),
            ..Default::default()
        }],
    }
}

fn policy(kind: Kind) -> OutboundPolicy {
    OutboundPolicy {
        metadata: Some(metadata("default")),
        protocol: Some(ProxyProtocol { kind: Some(kind) }),
    }
}

fn opaque(path: &str) -> Opaque {
    use opaque_route::{Distribution, RouteBackend, Rule, distribution as kind};
    let backend = RouteBackend {
        backend: Some(balancer(path)),
        ..Default::default()
    };
    let backends = kind::FirstAvailable {
        backends: vec![backend],
    };
    Opaque {
        routes: vec![OpaqueRoute {
            metadata: Some(metadata("default")),
            rules: vec![Rule {
                backends: Some(Distribution {
                    kind: Some(kind::Kind::FirstAvailable(backends)),
                }),
                filters: Vec::new(),
            }],
        }],
    }
}

/// All of a path's endpoints, by load.
fn balancer(path: &str) -> Backend {
    use backend::{
        BalanceP2c, EndpointDiscovery, balance_p2c as load, endpoint_discovery as discovery,
    };
    Backend {
        metadata: Some(metadata("default")),
        queue: Some(Queue {
            capacity: 100,
            failfast_timeout: Some(seconds(3)),
        }),
        kind: Some(backend::Kind::Balancer(BalanceP2c {
            discovery: Some(EndpointDiscovery {
                kind: Some(discovery::Kind::Dst(discovery::DestinationGet {
                    path: path.to_owned(),
                })),
            }),
            load: Some(load::Load::PeakEwma(load::PeakEwma {
                default_rtt: Some(prost_types::Duration {
                    seconds: 0,
                    nanos: 30_000_000,
                }),
                decay: Some(seconds(10)),
            })),
        })),
    }
}

/// An endpoint outside the mesh.
pub fn plain(addr: SocketAddr) -> WeightedAddr {
    WeightedAddr {
        addr: Some(addr.into()),
        weight: 10_000,
        ..Default::default()
    }
}

/// An application at `addr` behind a sidecar called `id` that takes transport headers at
/// `inbound_port` of the same IP address.
pub fn meshed(addr: SocketAddr, id: &str, inbound_port: u16) -> WeightedAddr {
    let name = id.to_owned();
    WeightedAddr {
        tls_identity: Some(TlsIdentity {
            server_name: None,
            strategy: Some(Strategy::DnsLikeIdentity(DnsLikeIdentity { name })),
        }),
        protocol_hint: Some(ProtocolHint {
            opaque_transport: Some(protocol_hint::OpaqueTransport {
                inbound_port: inbound_port.into(),
            }),
            protocol: Some(protocol_hint::Protocol::H2(protocol_hint::H2 {})),
        }),
        ..plain(addr)
    }
}

/// The gateway called `id` at `addr`, which is asked for `authority` (`name:port`).
pub fn gateway(addr: SocketAddr, id: &str, authority: &str) -> WeightedAddr {
    WeightedAddr {
        protocol_hint: Some(ProtocolHint {
            opaque_transport: None,
            protocol: Some(protocol_hint::Protocol::H2(protocol_hint::H2 {})),
        }),
        authority_override: Some(AuthorityOverride {
            authority_override: authority.to_owned(),
        }),
        ..meshed(addr, id, 0)
    }
}

/// A server port open to every client with mesh TLS, whatever it speaks.
pub fn open_port() -> server::Server {
    use server::{Authn, Authz, Network, authn, proxy_protocol as kind};
    let everywhere = ["0.0.0.0/0", "::/0"];
    let networks = everywhere
        .iter()
        .filter_map(|net| net.parse::<ipnet::IpNet>().ok());
    let networks = networks.map(|net| Network {
        net: Some(net.into()),
        except: Vec::new(),
    });
    server::Server {
        protocol: Some(server::ProxyProtocol {
            kind: Some(kind::Kind::Detect(kind::Detect {
                timeout: Some(seconds(10)),
                ..Default::default()
            })),
        }),
        authorizations: vec![Authz {
            networks: networks.collect(),
            authentication: Some(Authn {
                permit: Some(authn::Permit::MeshTls(authn::PermitMeshTls {
                    clients: Some(authn::permit_mesh_tls::Clients::Unauthenticated(
                        Default::default(),
                    )),
                })),
            }),
            metadata: Some(metadata("all-authenticated")),
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn metadata(name: &str) -> meta::Metadata {
    meta::Metadata {
        kind: Some(meta::metadata::Kind::Default(name.to_owned())),
    }
}

fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}
