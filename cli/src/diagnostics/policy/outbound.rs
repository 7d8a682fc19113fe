//! An outbound policy as data: where a sidecar may send what is addressed to a Service.

use super::name_of;
use linkerd2_proxy_api::outbound::{
    self as api, Backend as ApiBackend, OutboundPolicy, backend, proxy_protocol::Kind,
};
use serde::Serialize;

pub(super) const HEADER: [&str; 5] = ["PROTOCOL", "ROUTE", "MODE", "BACKEND", "TARGET"];

/// An outbound policy.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Policy {
    /// The Service it is for.
    resource: String,
    /// `detect`, or the one protocol that is spoken.
    protocol: &'static str,
    routes: Vec<Route>,
}

/// Where requests of one kind go.
#[derive(Debug, PartialEq, Serialize)]
struct Route {
    /// `http1`, `http2`, `grpc`, `opaque` or `tls`.
    protocol: &'static str,
    name: String,
    rules: Vec<Rule>,
}

/// Where requests that match go.
#[derive(Debug, PartialEq, Serialize)]
struct Rule {
    /// `first-available`, `random` or `none`.
    mode: &'static str,
    /// What is done to requests beside sending them on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    filters: Vec<String>,
    backends: Vec<Backend>,
}

#[derive(Debug, PartialEq, Serialize)]
struct Backend {
    name: String,
    /// The name whose endpoints are balanced over, or the one address.
    target: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<u32>,
}

impl Policy {
    /// A row for each backend.
    pub(super) fn rows(&self) -> Vec<Vec<String>> {
        let mut rows = Vec::new();
        for route in &self.routes {
            for rule in &route.rules {
                let mut mode = rule.mode.to_owned();
                for filter in &rule.filters {
                    mode.push_str(&format!(", {filter}"));
                }
                let row = |name: &str, target: &str| {
                    [route.protocol, &route.name, &mode, name, target]
                        .map(str::to_owned)
                        .to_vec()
                };
                if rule.backends.is_empty() {
                    rows.push(row("-", "-"));
                }
                for backend in &rule.backends {
                    rows.push(row(&backend.name, &backend.target));
                }
            }
        }
        rows
    }
}

/// What `policy` says.
pub(super) fn describe(policy: OutboundPolicy) -> Policy {
    let kind = policy.protocol.and_then(|protocol| protocol.kind);
    let (protocol, routes) = match kind {
        None => ("unknown", Vec::new()),
        Some(Kind::Detect(detect)) => {
            let http1 = detect.http1.unwrap_or_default().routes;
            let http2 = detect.http2.unwrap_or_default().routes;
            let opaque = detect.opaque.unwrap_or_default().routes;
            let all = [
                http("http1", http1),
                http("http2", http2),
                opaque_routes(opaque),
            ];
            ("detect", all.into_iter().flatten().collect())
        }
        Some(Kind::Opaque(opaque)) => ("opaque", opaque_routes(opaque.routes)),
        Some(Kind::Http1(http1)) => ("http1", http("http1", http1.routes)),
        Some(Kind::Http2(http2)) => ("http2", http("http2", http2.routes)),
        Some(Kind::Grpc(grpc)) => ("grpc", grpc_routes(grpc.routes)),
        Some(Kind::Tls(tls)) => ("tls", tls_routes(tls.routes)),
    };
    Policy {
        resource: name_of(policy.metadata.as_ref()),
        protocol,
        routes,
    }
}

fn http(protocol: &'static str, routes: Vec<api::HttpRoute>) -> Vec<Route> {
    let routes = routes.into_iter();
    routes.map(|route| http_route(protocol, route)).collect()
}

fn grpc_routes(routes: Vec<api::GrpcRoute>) -> Vec<Route> {
    let routes = routes.into_iter();
    routes.map(|route| grpc_route("grpc", route)).collect()
}

fn opaque_routes(routes: Vec<api::OpaqueRoute>) -> Vec<Route> {
    let routes = routes.into_iter();
    routes.map(|route| opaque_route("opaque", route)).collect()
}

fn tls_routes(routes: Vec<api::TlsRoute>) -> Vec<Route> {
    let routes = routes.into_iter();
    routes.map(|route| tls_route("tls", route)).collect()
}

/// The API has one message for each kind of route, all of one shape but without one name.
macro_rules! route_of {
    ($function:ident, $message:ident, $module:ident) => {
        fn $function(protocol: &'static str, route: api::$message) -> Route {
            use api::$module::{RouteBackend, Rule as ApiRule, distribution::Kind as Mode};
            let backend = |of: RouteBackend, weight| backend_of(of.backend, weight);
            let rule = |rule: ApiRule| {
                let (mode, backends) = match rule.backends.and_then(|b| b.kind) {
                    None | Some(Mode::Empty(_)) => ("none", Vec::new()),
                    Some(Mode::FirstAvailable(first)) => {
                        let all = first.backends.into_iter().map(|of| backend(of, None));
                        ("first-available", all.collect())
                    }
                    Some(Mode::RandomAvailable(random)) => {
                        let all = random.backends.into_iter().filter_map(|weighted| {
                            Some(backend(weighted.backend?, Some(weighted.weight)))
                        });
                        ("random", all.collect())
                    }
                };
                let filters = rule.filters.into_iter().filter_map(|filter| filter.kind);
                Rule {
                    mode,
                    filters: filters.map(|kind| variant(&kind)).collect(),
                    backends,
                }
            };
            Route {
                protocol,
                name: name_of(route.metadata.as_ref()),
                rules: route.rules.into_iter().map(rule).collect(),
            }
        }
    };
}

route_of!(http_route, HttpRoute, http_route);
route_of!(grpc_route, GrpcRoute, grpc_route);
route_of!(opaque_route, OpaqueRoute, opaque_route);
route_of!(tls_route, TlsRoute, tls_route);

/// The name of an enum's variant.
fn variant(value: &impl std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    let end = text.find(|c: char| !c.is_alphanumeric());
    text[..end.unwrap_or(text.len())].to_owned()
}

fn backend_of(backend: Option<ApiBackend>, weight: Option<u32>) -> Backend {
    let backend = backend.unwrap_or_default();
    let name = name_of(backend.metadata.as_ref());
    let target = match backend.kind {
        None => "-".to_owned(),
        Some(backend::Kind::Forward(to)) => {
            let address = to.addr.and_then(|a| std::net::SocketAddr::try_from(a).ok());
            address.map_or_else(|| "?".to_owned(), |address| address.to_string())
        }
        Some(backend::Kind::Balancer(balancer)) => {
            use backend::endpoint_discovery::Kind::Dst;
            match balancer.discovery.and_then(|discovery| discovery.kind) {
                Some(Dst(get)) => get.path,
                None => "-".to_owned(),
            }
        }
    };
    Backend {
        name,
        target,
        weight,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use linkerd2_proxy_api::{
        meta::{Metadata, Resource, metadata},
        opaque_route::Forbidden,
        outbound::{
            OpaqueRoute, ProxyProtocol,
            backend::{
                BalanceP2c, EndpointDiscovery,
                endpoint_discovery::{self, DestinationGet},
            },
            opaque_route::{Distribution, Filter, RouteBackend, Rule, distribution, filter},
            proxy_protocol,
        },
    };

    fn service(name: &str) -> Option<Metadata> {
        Some(Metadata {
            kind: Some(metadata::Kind::Resource(Resource {
                group: "core".into(),
                kind: "Service".into(),
                name: name.into(),
                namespace: "default".into(),
                section: String::new(),
                port: 80,
            })),
        })
    }

    fn balancer(name: &str) -> RouteBackend {
        let get = DestinationGet {
            path: format!("{name}.default.svc.cluster.local:80"),
        };
        let balancer = BalanceP2c {
            discovery: Some(EndpointDiscovery {
                kind: Some(endpoint_discovery::Kind::Dst(get)),
            }),
            load: None,
        };
        RouteBackend {
            backend: Some(ApiBackend {
                metadata: service(name),
                queue: None,
                kind: Some(backend::Kind::Balancer(balancer)),
            }),
            filters: vec![],
        }
    }

    #[test]
    fn each_backend_is_a_row_in_the_order_it_is_tried() {
        let first = distribution::FirstAvailable {
            backends: vec![balancer("web"), balancer("web-east")],
        };
        let route = OpaqueRoute {
            metadata: Some(Metadata {
                kind: Some(metadata::Kind::Default("opaque".into())),
            }),
            rules: vec![Rule {
                backends: Some(Distribution {
                    kind: Some(distribution::Kind::FirstAvailable(first)),
                }),
                filters: vec![Filter {
                    kind: Some(filter::Kind::Forbidden(Forbidden {})),
                }],
            }],
        };
        let opaque = proxy_protocol::Opaque {
            routes: vec![route],
        };
        let policy = describe(OutboundPolicy {
            protocol: Some(ProxyProtocol {
                kind: Some(Kind::Opaque(opaque)),
            }),
            metadata: service("web"),
        });
        assert_eq!(policy.resource, "Service default/web:80");
        let row = |name: &str| {
            [
                "opaque",
                "default opaque",
                "first-available, Forbidden",
                &format!("Service default/{name}:80"),
                &format!("{name}.default.svc.cluster.local:80"),
            ]
            .map(str::to_owned)
            .to_vec()
        };
        assert_eq!(policy.rows(), [row("web"), row("web-east")]);
    }
}
