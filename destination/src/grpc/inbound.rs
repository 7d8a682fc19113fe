//! An inbound policy as a message.

use super::meta;
use crate::{
    index::{Identities, Network, metadata::plain},
    view::{Admission, Authn, Inbound, InboundProtocol, PolicyRef},
};
use linkerd2_proxy_api::{
    grpc_route::GrpcRouteMatch,
    http_route::{HttpRouteMatch, PathMatch, path_match},
    http_types::{HttpMethod, http_method},
    inbound::{
        self as api, Authz, GrpcRoute, HttpRoute, Identity, IdentitySuffix, ProxyProtocol, Server,
        authn::{self, PermitMeshTls, PermitUnauthenticated, permit_mesh_tls},
        grpc_route, http_route, proxy_protocol,
    },
    meta::Metadata,
};
use mesh_api::policy::GROUP;
use std::collections::HashMap;

/// How long a connection may take to show its protocol, in seconds.
const DETECT_TIMEOUT: i64 = 10;
/// The name of the route that lets probes in.
const PROBE: &str = "probe";

/// The message.
pub(super) fn server(inbound: &Inbound) -> Server {
    Server {
        protocol: Some(ProxyProtocol {
            kind: Some(protocol(inbound)),
        }),
        server_ips: vec![],
        authorizations: inbound.admissions.iter().map(authz).collect(),
        labels: labels(&inbound.server),
    }
}

fn protocol(inbound: &Inbound) -> proxy_protocol::Kind {
    use proxy_protocol::{Detect, Grpc, Http1, Http2, Kind, Opaque, Tls};
    match inbound.protocol {
        InboundProtocol::Unknown => Kind::Detect(Detect {
            timeout: meta::seconds(DETECT_TIMEOUT),
            http_routes: http_routes(inbound),
            http_local_rate_limit: None,
        }),
        InboundProtocol::Http1 => Kind::Http1(Http1 {
            routes: http_routes(inbound),
            local_rate_limit: None,
        }),
        InboundProtocol::Http2 => Kind::Http2(Http2 {
            routes: http_routes(inbound),
            local_rate_limit: None,
        }),
        InboundProtocol::Grpc => Kind::Grpc(Grpc {
            routes: vec![grpc_route()],
        }),
        InboundProtocol::Opaque => Kind::Opaque(Opaque {}),
        InboundProtocol::Tls => Kind::Tls(Tls {}),
    }
}

/// One route for everything, which has the Server's authorizations; and one for the paths the
/// kubelet asks for, which everybody may.
fn http_routes(inbound: &Inbound) -> Vec<HttpRoute> {
    let everything = http_route::Rule {
        matches: vec![HttpRouteMatch {
            path: path(path_match::Kind::Prefix("/".to_owned())),
            ..HttpRouteMatch::default()
        }],
        filters: vec![],
    };
    let mut routes = vec![HttpRoute {
        metadata: Some(meta::default("default")),
        rules: vec![everything],
        ..HttpRoute::default()
    }];
    if !inbound.probe_paths.is_empty() && !inbound.probe_networks.is_empty() {
        routes.push(probe_route(inbound));
    }
    routes
}

fn probe_route(inbound: &Inbound) -> HttpRoute {
    let get = HttpMethod {
        r#type: Some(http_method::Type::Registered(
            http_method::Registered::Get.into(),
        )),
    };
    let matches = inbound.probe_paths.iter().map(|probe| HttpRouteMatch {
        path: path(path_match::Kind::Exact(probe.clone())),
        method: Some(get.clone()),
        ..HttpRouteMatch::default()
    });
    let admission = Admission {
        by: PolicyRef::Default(PROBE),
        networks: inbound.probe_networks.clone(),
        authn: Authn::Unauthenticated,
    };
    HttpRoute {
        metadata: Some(meta::default(PROBE)),
        authorizations: vec![authz(&admission)],
        rules: vec![http_route::Rule {
            matches: matches.collect(),
            filters: vec![],
        }],
        ..HttpRoute::default()
    }
}

fn grpc_route() -> GrpcRoute {
    GrpcRoute {
        metadata: Some(meta::default("default")),
        rules: vec![grpc_route::Rule {
            matches: vec![GrpcRouteMatch::default()],
            filters: vec![],
        }],
        ..GrpcRoute::default()
    }
}

fn path(kind: path_match::Kind) -> Option<PathMatch> {
    Some(PathMatch { kind: Some(kind) })
}

fn authz(admission: &Admission) -> Authz {
    Authz {
        networks: admission.networks.iter().map(network).collect(),
        authentication: Some(authn(&admission.authn)),
        labels: labels(&admission.by),
        metadata: Some(metadata(&admission.by)),
    }
}

fn network(network: &Network) -> api::Network {
    api::Network {
        net: Some(network.net.into()),
        except: network.except.iter().map(|net| (*net).into()).collect(),
    }
}

fn authn(authn: &Authn) -> api::Authn {
    let permit = match authn {
        Authn::Unauthenticated => authn::Permit::Unauthenticated(PermitUnauthenticated {}),
        Authn::Identities(identities) => authn::Permit::MeshTls(PermitMeshTls {
            clients: Some(permit_mesh_tls::Clients::Identities(clients(identities))),
        }),
    };
    api::Authn {
        permit: Some(permit),
    }
}

fn clients(identities: &Identities) -> permit_mesh_tls::PermitClientIdentities {
    permit_mesh_tls::PermitClientIdentities {
        identities: identities
            .exact
            .iter()
            .map(|name| Identity {
                name: name.to_string(),
            })
            .collect(),
        suffixes: identities
            .suffixes
            .iter()
            .map(|parts| IdentitySuffix {
                parts: parts.clone(),
            })
            .collect(),
    }
}

/// The same keys whoever set the policy, as metrics want it.
fn labels(by: &PolicyRef) -> HashMap<String, String> {
    let (group, kind, name) = match by {
        PolicyRef::Default(name) => ("", "default", (*name).to_owned()),
        PolicyRef::Resource { kind, object } => (GROUP, *kind, plain(&object.name)),
    };
    [
        ("group", group.to_owned()),
        ("kind", kind.to_owned()),
        ("name", name),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

fn metadata(by: &PolicyRef) -> Metadata {
    match by {
        PolicyRef::Default(name) => meta::default(name),
        PolicyRef::Resource { kind, object } => meta::policy(kind, object),
    }
}
