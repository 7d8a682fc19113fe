//! Policies as the control plane sends them, made into ours.
//!
//! Total: what cannot be followed is an error for the whole server, never a looser policy.

use std::{collections::HashMap, time::Duration};

use linkerd2_proxy_api::{
    inbound::{self as api, proxy_protocol::Kind},
    meta as meta_api,
};

use super::{
    Authentication, Authorization, Network, Permit, Protocol, Routes, ServerPolicy, default_route,
    rate::RateLimit,
};
use crate::{
    config::LONGEST,
    http::{
        filter::Filter,
        route::{Invalid, RequestMatch, Route, Rule, hosts},
    },
    metrics::Meta,
};

impl TryFrom<api::Server> for ServerPolicy {
    type Error = Invalid;

    fn try_from(proto: api::Server) -> Result<Self, Invalid> {
        let kind = proto
            .protocol
            .and_then(|protocol| protocol.kind)
            .ok_or(Invalid::Missing("protocol"))?;
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
            Kind::Grpc(grpc) => Protocol::Http2(grpc_routes(grpc.routes)?),
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

fn timeout(timeout: Option<prost_types::Duration>) -> Result<Duration, Invalid> {
    let timeout = timeout.ok_or(Invalid::Missing("detection timeout"))?;
    Duration::try_from(timeout)
        .map(|timeout| timeout.min(LONGEST))
        .map_err(|error| Invalid::Bad("detection timeout", error.to_string()))
}

fn http_routes(protos: Vec<api::HttpRoute>) -> Result<Routes, Invalid> {
    if protos.is_empty() {
        return Ok(default_route());
    }
    let route = |proto: api::HttpRoute| {
        let permit = permit(proto.metadata, proto.authorizations)?;
        let rule = |rule: api::http_route::Rule| {
            let matches = rule.matches.into_iter().map(RequestMatch::http);
            let filters = rule.filters.into_iter().map(http_filter);
            Ok(Rule {
                matches: matches.collect::<Result<_, _>>()?,
                filters: filters.collect::<Result<_, _>>()?,
                then: permit.clone(),
            })
        };
        let rules = proto.rules.into_iter().map(rule);
        Ok(Route {
            rules: rules.collect::<Result<_, Invalid>>()?,
            hosts: hosts(proto.hosts)?,
        })
    };
    protos.into_iter().map(route).collect()
}

fn grpc_routes(protos: Vec<api::GrpcRoute>) -> Result<Routes, Invalid> {
    if protos.is_empty() {
        return Ok(default_route());
    }
    let route = |proto: api::GrpcRoute| {
        let permit = Permit {
            grpc: true,
            ..permit(proto.metadata, proto.authorizations)?
        };
        let rule = |rule: api::grpc_route::Rule| {
            let matches = rule.matches.into_iter().map(RequestMatch::grpc);
            let filters = rule.filters.into_iter().map(grpc_filter);
            Ok(Rule {
                matches: matches.collect::<Result<_, _>>()?,
                filters: filters.collect::<Result<_, _>>()?,
                then: permit.clone(),
            })
        };
        let rules = proto.rules.into_iter().map(rule);
        Ok(Route {
            rules: rules.collect::<Result<_, Invalid>>()?,
            hosts: hosts(proto.hosts)?,
        })
    };
    protos.into_iter().map(route).collect()
}

fn permit(
    metadata: Option<meta_api::Metadata>,
    authzs: Vec<api::Authz>,
) -> Result<Permit, Invalid> {
    Ok(Permit {
        authorizations: authorizations(authzs)?.into(),
        meta: described(metadata).unwrap_or_else(|| Meta::default_named("default")),
        grpc: false,
    })
}

fn http_filter(proto: api::http_route::Filter) -> Result<Filter, Invalid> {
    use api::http_route::filter::Kind;
    match proto.kind.ok_or(Invalid::Missing("filter"))? {
        Kind::FailureInjector(failure) => Filter::fail_http(failure),
        Kind::RequestHeaderModifier(change) => Filter::request_headers(change),
        Kind::Redirect(redirect) => Filter::redirect(redirect),
    }
}

fn grpc_filter(proto: api::grpc_route::Filter) -> Result<Filter, Invalid> {
    use api::grpc_route::filter::Kind;
    match proto.kind.ok_or(Invalid::Missing("filter"))? {
        Kind::FailureInjector(failure) => Filter::fail_grpc(failure),
        Kind::RequestHeaderModifier(change) => Filter::request_headers(change),
    }
}

fn authorizations(protos: Vec<api::Authz>) -> Result<Vec<Authorization>, Invalid> {
    protos.into_iter().map(authorization).collect()
}

fn authorization(proto: api::Authz) -> Result<Authorization, Invalid> {
    if proto.networks.is_empty() {
        return Err(Invalid::Missing("network of an authorization"));
    }
    let networks = proto.networks.into_iter().map(network);
    let permit = proto
        .authentication
        .and_then(|authn| authn.permit)
        .ok_or(Invalid::Missing("authentication"))?;
    Ok(Authorization {
        networks: networks.collect::<Result<_, _>>()?,
        authentication: authentication(permit)?,
        meta: described(proto.metadata).unwrap_or_else(|| labelled(&proto.labels)),
    })
}

fn authentication(permit: api::authn::Permit) -> Result<Authentication, Invalid> {
    use api::authn::{Permit, permit_mesh_tls::Clients};
    let clients = match permit {
        Permit::Unauthenticated(_) => return Ok(Authentication::Unauthenticated),
        Permit::MeshTls(tls) => tls.clients.ok_or(Invalid::Missing("mesh clients"))?,
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

fn network(proto: api::Network) -> Result<Network, Invalid> {
    let parse = |net: linkerd2_proxy_api::net::IpNetwork| {
        ipnet::IpNet::try_from(net).map_err(|error| Invalid::Bad("network", error.to_string()))
    };
    Ok(Network {
        net: parse(proto.net.ok_or(Invalid::Missing("network"))?)?,
        except: proto
            .except
            .into_iter()
            .map(parse)
            .collect::<Result<_, _>>()?,
    })
}

/// What a message calls its object.
pub(super) fn described(metadata: Option<meta_api::Metadata>) -> Option<Meta> {
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
