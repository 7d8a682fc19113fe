//! An inbound policy as data: whom a sidecar lets through to a port.

use super::name_of;
use linkerd2_proxy_api::{
    inbound::{
        Authz, GrpcRoute, HttpRoute, Network, Server,
        authn::{Permit, permit_mesh_tls::Clients},
        proxy_protocol::Kind,
    },
    meta::Metadata,
    net::IpNetwork,
};
use serde::Serialize;
use std::collections::BTreeMap;

pub(super) const HEADER: [&str; 5] = ["PROTOCOL", "ROUTE", "AUTHORIZATION", "CLIENTS", "NETWORKS"];

/// The identity suffix that every identity has.
const ANY: &str = "any meshed";

/// An inbound policy.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Policy {
    /// What states the policy, as metrics name it.
    server: BTreeMap<String, String>,
    /// `detect`, or the one protocol that is spoken.
    protocol: &'static str,
    /// Who may connect.
    authorizations: Vec<Authorization>,
    /// Who may ask for what, where the routes say so.
    routes: Vec<Route>,
}

#[derive(Debug, PartialEq, Serialize)]
struct Route {
    name: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    authorizations: Vec<Authorization>,
}

#[derive(Debug, PartialEq, Serialize)]
struct Authorization {
    by: String,
    /// Identities, `any meshed`, or `unauthenticated`.
    clients: Vec<String>,
    networks: Vec<String>,
}

impl Policy {
    /// A row for each authorization.
    pub(super) fn rows(&self) -> Vec<Vec<String>> {
        let of_server = std::iter::once(("*", &self.authorizations));
        let routes = self.routes.iter();
        let of_routes = routes.map(|route| (route.name.as_str(), &route.authorizations));
        let mut rows = Vec::new();
        for (route, authorizations) in of_server.chain(of_routes) {
            if route == "*" && authorizations.is_empty() {
                rows.push(
                    [self.protocol, route, "-", "nobody", "-"]
                        .map(str::to_owned)
                        .to_vec(),
                );
            }
            for authorization in authorizations {
                rows.push(vec![
                    self.protocol.to_owned(),
                    route.to_owned(),
                    authorization.by.clone(),
                    authorization.clients.join(","),
                    authorization.networks.join(","),
                ]);
            }
        }
        rows
    }
}

/// What `server` says.
pub(super) fn describe(server: Server) -> Policy {
    let kind = server.protocol.and_then(|protocol| protocol.kind);
    let (protocol, routes) = match kind {
        None => ("unknown", Vec::new()),
        Some(Kind::Detect(detect)) => ("detect", http(detect.http_routes)),
        Some(Kind::Http1(http1)) => ("http1", http(http1.routes)),
        Some(Kind::Http2(http2)) => ("http2", http(http2.routes)),
        Some(Kind::Grpc(grpc)) => ("grpc", self::grpc(grpc.routes)),
        Some(Kind::Opaque(_)) => ("opaque", Vec::new()),
        Some(Kind::Tls(_)) => ("tls", Vec::new()),
    };
    Policy {
        server: server.labels.into_iter().collect(),
        protocol,
        authorizations: all(server.authorizations),
        routes,
    }
}

fn http(routes: Vec<HttpRoute>) -> Vec<Route> {
    let routes = routes.into_iter();
    routes
        .map(|of| route(of.metadata.as_ref(), of.authorizations))
        .collect()
}

fn grpc(routes: Vec<GrpcRoute>) -> Vec<Route> {
    let routes = routes.into_iter();
    routes
        .map(|of| route(of.metadata.as_ref(), of.authorizations))
        .collect()
}

fn route(metadata: Option<&Metadata>, authorizations: Vec<Authz>) -> Route {
    Route {
        name: name_of(metadata),
        authorizations: all(authorizations),
    }
}

fn all(authorizations: Vec<Authz>) -> Vec<Authorization> {
    authorizations.into_iter().map(authorization).collect()
}

fn authorization(of: Authz) -> Authorization {
    let clients = match of.authentication.and_then(|authn| authn.permit) {
        None => Vec::new(),
        Some(Permit::Unauthenticated(_)) => vec!["unauthenticated".to_owned()],
        Some(Permit::MeshTls(tls)) => match tls.clients {
            None => Vec::new(),
            Some(Clients::Unauthenticated(_)) => vec!["any TLS".to_owned()],
            Some(Clients::Identities(clients)) => {
                let suffixes = clients.suffixes.into_iter().map(|suffix| {
                    if suffix.parts.is_empty() {
                        ANY.to_owned()
                    } else {
                        format!("*.{}", suffix.parts.join("."))
                    }
                });
                let exact = clients.identities.into_iter().map(|identity| identity.name);
                exact.chain(suffixes).collect()
            }
        },
    };
    Authorization {
        by: name_of(of.metadata.as_ref()),
        clients,
        networks: of.networks.into_iter().map(network).collect(),
    }
}

fn network(network: Network) -> String {
    let text = |net: IpNetwork| {
        let net = ipnet::IpNet::try_from(net);
        net.map_or_else(|_| "?".to_owned(), |net| net.to_string())
    };
    let mut out = network.net.map_or_else(|| "?".to_owned(), text);
    for except in network.except {
        out.push_str(&format!(" except {}", text(except)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use linkerd2_proxy_api::{
        inbound::{
            Authn, IdentitySuffix, ProxyProtocol,
            authn::{PermitMeshTls, permit_mesh_tls::PermitClientIdentities},
            proxy_protocol,
        },
        meta::metadata,
    };

    #[test]
    fn who_may_is_said_in_words_and_nobody_where_none_may() {
        let clients = PermitClientIdentities {
            identities: vec![],
            suffixes: vec![IdentitySuffix { parts: vec![] }],
        };
        let net: ipnet::IpNet = "10.0.0.0/8".parse().unwrap();
        let authz = Authz {
            networks: vec![Network {
                net: Some(net.into()),
                except: vec![],
            }],
            authentication: Some(Authn {
                permit: Some(Permit::MeshTls(PermitMeshTls {
                    clients: Some(Clients::Identities(clients)),
                })),
            }),
            metadata: Some(Metadata {
                kind: Some(metadata::Kind::Default("all-authenticated".into())),
            }),
            ..Authz::default()
        };
        let server = |authorizations| Server {
            protocol: Some(ProxyProtocol {
                kind: Some(Kind::Opaque(proxy_protocol::Opaque {})),
            }),
            authorizations,
            ..Server::default()
        };
        let row = |cells: [&str; 5]| vec![cells.map(str::to_owned).to_vec()];
        assert_eq!(
            describe(server(vec![authz])).rows(),
            row([
                "opaque",
                "*",
                "default all-authenticated",
                "any meshed",
                "10.0.0.0/8"
            ])
        );
        assert_eq!(
            describe(server(vec![])).rows(),
            row(["opaque", "*", "-", "nobody", "-"])
        );
    }
}
