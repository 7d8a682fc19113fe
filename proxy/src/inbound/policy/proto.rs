//! Policies as the control plane sends them, made into ours.
//!
//! Total: what cannot be followed is an error for the whole server, never a looser policy.

use std::{collections::HashMap, time::Duration};

use linkerd2_proxy_api::{
    inbound::{self as api, proxy_protocol::Kind},
    meta as meta_api,
};

use super::{
    Authentication, Authorization, GrpcRoutes, HttpRoutes, Network, Permit, Protocol, ServerPolicy,
    default_route, rate::RateLimit,
};
use crate::{
    http::{
        filter::{Failure, Filter, Headers, Redirect},
        route::{GrpcMatch, HostMatch, HttpMatch, InvalidRoute, Route, Rule},
    },
    metrics::Meta,
};

/// Why a policy cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum InvalidServer {
    /// A required part is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A network is none.
    #[error("not a network: {0}")]
    Network(String),
    /// A duration is negative or too long.
    #[error("the detection timeout is not a duration")]
    Duration,
    /// A route cannot be followed.
    #[error("route: {0}")]
    Route(#[from] InvalidRoute),
}

impl TryFrom<api::Server> for ServerPolicy {
    type Error = InvalidServer;

    fn try_from(proto: api::Server) -> Result<Self, InvalidServer> {
        let kind = proto
            .protocol
            .and_then(|protocol| protocol.kind)
            .ok_or(InvalidServer::Missing("protocol"))?;
        let mut limit = None;
        let protocol = match kind {
            Kind::Detect(detect) => {
                limit = detect.http_local_rate_limit;
                Protocol::Detect {
                    timeout: timeout(detect.timeout)?,
                    http: http_routes(detect.http_routes)?,
                }
            }
            Kind::Http1(http) => {
                limit = http.local_rate_limit;
                Protocol::Http1(http_routes(http.routes)?)
            }
            Kind::Http2(http) => {
                limit = http.local_rate_limit;
                Protocol::Http2(http_routes(http.routes)?)
            }
            Kind::Grpc(grpc) => Protocol::Grpc(grpc_routes(grpc.routes)?),
            Kind::Opaque(_) => Protocol::Opaque,
            Kind::Tls(_) => Protocol::Tls,
        };
        let policy = Self {
            protocol,
            authorizations: authorizations(proto.authorizations)?,
            rate_limit: limit.map(RateLimit::from_proto),
            meta: labelled(&proto.labels),
        };
        Ok(policy.with_localhost())
    }
}

fn timeout(timeout: Option<prost_types::Duration>) -> Result<Duration, InvalidServer> {
    let timeout = timeout.ok_or(InvalidServer::Missing("detection timeout"))?;
    Duration::try_from(timeout).map_err(|_| InvalidServer::Duration)
}

fn http_routes(protos: Vec<api::HttpRoute>) -> Result<HttpRoutes, InvalidServer> {
    if protos.is_empty() {
        return Ok(default_route());
    }
    protos.into_iter().map(http_route).collect()
}

fn http_route(proto: api::HttpRoute) -> Result<Route<HttpMatch, Permit>, InvalidServer> {
    let (hosts, permit) = (
        hosts(proto.hosts)?,
        permit(proto.metadata, proto.authorizations)?,
    );
    let rules = proto.rules.into_iter().map(|rule| {
        let matches = rule.matches.into_iter().map(HttpMatch::from_proto);
        let filters = rule.filters.into_iter().map(http_filter);
        Ok(Rule {
            matches: matches.collect::<Result<_, _>>()?,
            then: permit.with_filters(filters.collect::<Result<_, _>>()?),
        })
    });
    let rules = rules.collect::<Result<_, InvalidServer>>()?;
    Ok(Route { hosts, rules })
}

fn grpc_routes(protos: Vec<api::GrpcRoute>) -> Result<GrpcRoutes, InvalidServer> {
    if protos.is_empty() {
        return Ok(default_grpc_route());
    }
    protos.into_iter().map(grpc_route).collect()
}

fn grpc_route(proto: api::GrpcRoute) -> Result<Route<GrpcMatch, Permit>, InvalidServer> {
    let (hosts, permit) = (
        hosts(proto.hosts)?,
        permit(proto.metadata, proto.authorizations)?,
    );
    let rules = proto.rules.into_iter().map(|rule| {
        let matches = rule.matches.into_iter().map(GrpcMatch::from_proto);
        let filters = rule.filters.into_iter().map(grpc_filter);
        Ok(Rule {
            matches: matches.collect::<Result<_, _>>()?,
            then: permit.with_filters(filters.collect::<Result<_, _>>()?),
        })
    });
    let rules = rules.collect::<Result<_, InvalidServer>>()?;
    Ok(Route { hosts, rules })
}

fn default_grpc_route() -> GrpcRoutes {
    default_route()
        .into_iter()
        .map(|route| Route {
            hosts: route.hosts,
            rules: route
                .rules
                .into_iter()
                .map(|rule| Rule {
                    matches: Vec::new(),
                    then: rule.then,
                })
                .collect(),
        })
        .collect()
}

fn hosts(
    protos: Vec<linkerd2_proxy_api::http_route::HostMatch>,
) -> Result<Vec<HostMatch>, InvalidServer> {
    let hosts = protos.into_iter().map(HostMatch::from_proto);
    Ok(hosts.collect::<Result<_, _>>()?)
}

fn permit(
    metadata: Option<meta_api::Metadata>,
    authzs: Vec<api::Authz>,
) -> Result<Permit, InvalidServer> {
    Ok(Permit {
        authorizations: authorizations(authzs)?.into(),
        filters: [].into(),
        meta: described(metadata).unwrap_or_else(|| Meta::default_named("default")),
    })
}

impl Permit {
    fn with_filters(&self, filters: Vec<Filter>) -> Self {
        Self {
            filters: filters.into(),
            ..self.clone()
        }
    }
}

fn http_filter(proto: api::http_route::Filter) -> Result<Filter, InvalidServer> {
    use api::http_route::filter::Kind;
    Ok(match proto.kind.ok_or(InvalidServer::Missing("filter"))? {
        Kind::FailureInjector(failure) => Filter::Fail(Failure::http(failure)?),
        Kind::RequestHeaderModifier(change) => Filter::RequestHeaders(Headers::request(change)?),
        Kind::Redirect(redirect) => Filter::Redirect(Redirect::from_proto(redirect)?),
    })
}

fn grpc_filter(proto: api::grpc_route::Filter) -> Result<Filter, InvalidServer> {
    use api::grpc_route::filter::Kind;
    Ok(match proto.kind.ok_or(InvalidServer::Missing("filter"))? {
        Kind::FailureInjector(failure) => Filter::Fail(Failure::grpc(failure)?),
        Kind::RequestHeaderModifier(change) => Filter::RequestHeaders(Headers::request(change)?),
    })
}

fn authorizations(protos: Vec<api::Authz>) -> Result<Vec<Authorization>, InvalidServer> {
    protos.into_iter().map(authorization).collect()
}

fn authorization(proto: api::Authz) -> Result<Authorization, InvalidServer> {
    if proto.networks.is_empty() {
        return Err(InvalidServer::Missing("network of an authorization"));
    }
    let networks = proto.networks.into_iter().map(network);
    let permit = proto
        .authentication
        .and_then(|authn| authn.permit)
        .ok_or(InvalidServer::Missing("authentication"))?;
    Ok(Authorization {
        networks: networks.collect::<Result<_, _>>()?,
        authentication: authentication(permit)?,
        meta: described(proto.metadata).unwrap_or_else(|| labelled(&proto.labels)),
    })
}

fn authentication(permit: api::authn::Permit) -> Result<Authentication, InvalidServer> {
    use api::authn::{Permit, permit_mesh_tls::Clients};
    let clients = match permit {
        Permit::Unauthenticated(_) => return Ok(Authentication::Unauthenticated),
        Permit::MeshTls(tls) => tls.clients.ok_or(InvalidServer::Missing("mesh clients"))?,
    };
    Ok(match clients {
        Clients::Unauthenticated(_) => Authentication::MeshTls,
        Clients::Identities(ids) => Authentication::Identities {
            names: ids.identities.into_iter().map(|id| id.name).collect(),
            suffixes: ids
                .suffixes
                .into_iter()
                .map(|suffix| suffix.parts.join("."))
                .collect(),
        },
    })
}

fn network(proto: api::Network) -> Result<Network, InvalidServer> {
    let parse = |net: linkerd2_proxy_api::net::IpNetwork| {
        ipnet::IpNet::try_from(net).map_err(|error| InvalidServer::Network(error.to_string()))
    };
    Ok(Network {
        net: parse(proto.net.ok_or(InvalidServer::Missing("network"))?)?,
        except: proto
            .except
            .into_iter()
            .map(parse)
            .collect::<Result<_, _>>()?,
    })
}

fn described(metadata: Option<meta_api::Metadata>) -> Option<Meta> {
    match metadata?.kind? {
        meta_api::metadata::Kind::Default(name) => Some(Meta::default_named(&name)),
        meta_api::metadata::Kind::Resource(resource) => Some(Meta {
            group: resource.group.into(),
            kind: resource.kind.into(),
            name: resource.name.into(),
        }),
    }
}

/// Older control planes describe servers and authorizations by labels.
fn labelled(labels: &HashMap<String, String>) -> Meta {
    let label = |key: &str| labels.get(key).map_or("", String::as_str);
    match (label("kind"), label("name")) {
        ("" | "default", name) => Meta::default_named(name),
        (kind, name) => Meta {
            group: label("group").into(),
            kind: kind.into(),
            name: name.into(),
        },
    }
}
