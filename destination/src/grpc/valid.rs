//! What a stock proxy needs of every message, as checks that panic.
//!
//! A proxy that misses a required part replaces the whole policy by one that fails everything, or
//! ends the connection's task. So every message of every test passes here.

use crate::index::metadata::is_dns_name;
use linkerd2_proxy_api::{
    destination::{
        DestinationProfile, NoEndpoints, ProtocolHint, TlsIdentity, Update, WeightedAddr,
        tls_identity, update,
    },
    http_route::HttpRouteMatch,
    inbound::{self, Authz, Server, authn},
    meta::{Metadata, metadata},
    net::{IpNetwork, TcpAddress},
    outbound::{
        self, Backend, GrpcRoute, HttpRoute, OpaqueRoute, OutboundPolicy, backend,
        backend::endpoint_discovery,
    },
};
use std::{
    collections::{BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
};

/// What a proxy believes from a stream of updates.
#[derive(Debug, Default)]
pub(super) struct Balancer {
    heard: bool,
    /// What it would balance over.
    pub(super) addresses: BTreeSet<SocketAddr>,
    /// Whether it was told that there is such a Service.
    pub(super) exists: bool,
}

impl Balancer {
    /// Takes an update as a stock proxy would.
    pub(super) fn update(&mut self, update: &Update) {
        match update.update.as_ref().expect("an update says something") {
            update::Update::Add(add) => {
                assert!(!add.addrs.is_empty(), "an empty add says nothing");
                labels(&add.metric_labels);
                for address in &add.addrs {
                    self.addresses.insert(weighted(address));
                }
                self.exists = true;
            }
            update::Update::Remove(remove) => {
                assert!(
                    self.heard,
                    "the first message adds, or says that there is nothing"
                );
                for address in &remove.addrs {
                    let address = socket(Some(address));
                    assert!(self.addresses.remove(&address), "{address} was never added");
                }
                assert!(
                    !self.addresses.is_empty(),
                    "the last one goes by no_endpoints"
                );
            }
            update::Update::NoEndpoints(NoEndpoints { exists }) => {
                self.addresses.clear();
                self.exists = *exists;
            }
        }
        self.heard = true;
    }
}

/// One endpoint, with all it needs to be connected to.
pub(super) fn weighted(endpoint: &WeightedAddr) -> SocketAddr {
    let address = socket(endpoint.addr.as_ref());
    assert!(endpoint.weight > 0);
    labels(&endpoint.metric_labels);
    if let Some(identity) = &endpoint.tls_identity {
        tls(identity);
    }
    if let Some(hint) = &endpoint.protocol_hint {
        protocol_hint(hint);
    }
    if let Some(authority) = &endpoint.authority_override {
        authority_name(&authority.authority_override);
        assert!(
            endpoint.tls_identity.is_some(),
            "a gateway must prove itself"
        );
        let direct = endpoint
            .protocol_hint
            .and_then(|hint| hint.opaque_transport);
        assert!(direct.is_none(), "a gateway's own port is its inbound port");
    }
    if let Some(resource) = &endpoint.resource_ref {
        meta(Some(resource));
    }
    if let Some(http2) = &endpoint.http2 {
        let keep_alive = http2.keep_alive.expect("stated");
        assert!(keep_alive.interval.is_some_and(|d| d.seconds > 0));
        assert!(keep_alive.timeout.is_some_and(|d| d.seconds > 0));
        if let Some(windows) = http2.flow_control {
            assert!(windows.initial_connection_window_size <= i32::MAX as u32);
            assert!(windows.initial_stream_window_size <= i32::MAX as u32);
        }
    }
    address
}

/// A profile.
pub(super) fn profile(profile: &DestinationProfile) {
    let name = &profile.fully_qualified_name;
    assert!(name.is_empty() || is_dns_name(name), "{name:?} has no port");
    assert!(profile.routes.is_empty() && profile.dst_overrides.is_empty());
    assert!(
        profile.retry_budget.is_none(),
        "it would have to be a sane one"
    );
    if let Some(endpoint) = &profile.endpoint {
        weighted(endpoint);
    }
    if let Some(parent) = &profile.parent_ref {
        meta(Some(parent));
    }
}

/// An outbound policy.
pub(super) fn policy(policy: &OutboundPolicy) {
    use outbound::proxy_protocol::Kind;
    meta(policy.metadata.as_ref());
    let protocol = policy.protocol.as_ref().expect("a protocol");
    match protocol.kind.as_ref().expect("a kind of protocol") {
        Kind::Detect(detect) => {
            assert!(detect.timeout.is_some_and(|timeout| timeout.seconds > 0));
            opaque_routes(&detect.opaque.as_ref().expect("opaque").routes);
            http_routes(&detect.http1.as_ref().expect("http1").routes);
            http_routes(&detect.http2.as_ref().expect("http2").routes);
        }
        Kind::Opaque(opaque) => opaque_routes(&opaque.routes),
        Kind::Http1(http) => http_routes(&http.routes),
        Kind::Http2(http) => http_routes(&http.routes),
        Kind::Grpc(grpc) => grpc_routes(&grpc.routes),
        Kind::Tls(_) => panic!("not made"),
    }
}

/// An inbound policy.
pub(super) fn server(server: &Server) {
    use inbound::proxy_protocol::Kind;
    policy_labels(&server.labels);
    server.authorizations.iter().for_each(authz);
    let protocol = server.protocol.as_ref().expect("a protocol");
    match protocol.kind.as_ref().expect("a kind of protocol") {
        Kind::Detect(detect) => {
            assert!(detect.timeout.is_some_and(|timeout| timeout.seconds > 0));
            inbound_routes(&detect.http_routes);
        }
        Kind::Http1(http) => inbound_routes(&http.routes),
        Kind::Http2(http) => inbound_routes(&http.routes),
        Kind::Grpc(grpc) => {
            assert!(!grpc.routes.is_empty());
            for route in &grpc.routes {
                meta(route.metadata.as_ref());
                assert!(!route.rules.is_empty());
                route.authorizations.iter().for_each(authz);
            }
        }
        Kind::Opaque(_) | Kind::Tls(_) => {}
    }
}

fn inbound_routes(routes: &[inbound::HttpRoute]) {
    assert!(!routes.is_empty());
    for route in routes {
        meta(route.metadata.as_ref());
        assert!(
            !route.rules.is_empty(),
            "a route without rules matches nothing"
        );
        for rule in &route.rules {
            rule.matches.iter().for_each(http_match);
        }
        route.authorizations.iter().for_each(authz);
    }
}

fn authz(authz: &Authz) {
    use authn::{Permit, permit_mesh_tls::Clients};
    meta(authz.metadata.as_ref());
    policy_labels(&authz.labels);
    assert!(
        !authz.networks.is_empty(),
        "without a network it is ignored"
    );
    for network in &authz.networks {
        net(network.net.as_ref().expect("a network"));
        network.except.iter().for_each(net);
    }
    let authn = authz.authentication.as_ref().expect("an authentication");
    match authn.permit.as_ref().expect("a permit") {
        Permit::Unauthenticated(_) => {}
        Permit::MeshTls(tls) => match tls.clients.as_ref().expect("clients") {
            Clients::Unauthenticated(_) => panic!("not made"),
            Clients::Identities(clients) => {
                let any = !clients.identities.is_empty() || !clients.suffixes.is_empty();
                assert!(any, "some identity");
                for identity in &clients.identities {
                    assert!(!identity.name.is_empty());
                }
                for suffix in &clients.suffixes {
                    assert!(
                        suffix.parts.iter().all(|part| !part.is_empty()),
                        "{suffix:?}"
                    );
                }
            }
        },
    }
}

fn net(net: &IpNetwork) {
    ipnet::IpNet::try_from(*net).expect("a network");
}

fn http_match(route: &HttpRouteMatch) {
    if let Some(path) = &route.path {
        assert!(path.kind.is_some());
    }
    if let Some(method) = &route.method {
        assert!(method.r#type.is_some());
    }
}

/// The three shapes of routes are alike, but are types of their own.
macro_rules! routes {
    ($name:ident, $route:ty, $module:ident, $check_match:expr) => {
        fn $name(routes: &[$route]) {
            use outbound::$module::distribution::Kind;
            assert!(!routes.is_empty(), "no routes answer 404");
            for route in routes {
                meta(route.metadata.as_ref());
                assert!(!route.rules.is_empty());
                for rule in &route.rules {
                    let check: fn(&outbound::$module::Rule) = $check_match;
                    check(rule);
                    let backends = rule.backends.as_ref().expect("backends");
                    match backends.kind.as_ref().expect("a kind of distribution") {
                        Kind::Empty(_) => {}
                        Kind::FirstAvailable(first) => {
                            assert!(!first.backends.is_empty());
                            for of in &first.backends {
                                backend(of.backend.as_ref());
                            }
                        }
                        Kind::RandomAvailable(random) => {
                            let total: u32 = random.backends.iter().map(|b| b.weight).sum();
                            assert!(total > 0, "all weights zero panic");
                        }
                    }
                }
            }
        }
    };
}

routes!(http_routes, HttpRoute, http_route, |rule| {
    rule.matches.iter().for_each(http_match);
    assert!(
        rule.retry
            .as_ref()
            .is_none_or(|retry| retry.conditions.is_some())
    );
});
routes!(grpc_routes, GrpcRoute, grpc_route, |rule| {
    assert!(
        rule.retry
            .as_ref()
            .is_none_or(|retry| retry.conditions.is_some())
    );
});
routes!(opaque_routes, OpaqueRoute, opaque_route, |rule| {
    assert!(rule.filters.iter().all(|filter| filter.kind.is_some()));
});

fn backend(backend: Option<&Backend>) {
    let backend = backend.expect("a backend");
    meta(backend.metadata.as_ref());
    let queue = backend.queue.as_ref().expect("a queue");
    assert!(queue.capacity > 0);
    assert!(
        queue
            .failfast_timeout
            .is_some_and(|timeout| timeout.seconds > 0)
    );
    match backend
        .kind
        .as_ref()
        .expect("without a kind every request fails")
    {
        backend::Kind::Forward(endpoint) => {
            weighted(endpoint);
        }
        backend::Kind::Balancer(balancer) => {
            assert!(balancer.load.is_some());
            let discovery = balancer.discovery.as_ref().expect("discovery");
            let Some(endpoint_discovery::Kind::Dst(get)) = &discovery.kind else {
                panic!("a way to discover")
            };
            authority_name(&get.path);
        }
    }
}

/// `name:port`; an address in its place panics in proxies.
fn authority_name(authority: &str) {
    let (host, port) = authority.rsplit_once(':').expect("host:port");
    assert!(host.parse::<IpAddr>().is_err(), "{authority} is an address");
    assert!(is_dns_name(host), "{authority} has no DNS name");
    assert!(
        port.parse::<u16>().is_ok_and(|port| port != 0),
        "{authority} has no port"
    );
}

fn tls(identity: &TlsIdentity) {
    match identity.strategy.as_ref().expect("a strategy") {
        tls_identity::Strategy::DnsLikeIdentity(dns) => assert!(is_dns_name(&dns.name)),
        tls_identity::Strategy::UriLikeIdentity(_) => assert!(identity.server_name.is_some()),
    }
    if let Some(name) = &identity.server_name {
        assert!(is_dns_name(&name.name));
    }
}

fn protocol_hint(hint: &ProtocolHint) {
    if let Some(transport) = hint.opaque_transport {
        // 65535 is ignored by stock proxies.
        assert!(
            (1..65535).contains(&transport.inbound_port),
            "{transport:?}"
        );
    }
}

fn socket(address: Option<&TcpAddress>) -> SocketAddr {
    let address = SocketAddr::try_from(*address.expect("an address")).expect("a valid one");
    assert!(address.port() != 0, "port 0 panics");
    assert!(!address.ip().is_unspecified());
    address
}

fn meta(meta: Option<&Metadata>) {
    let meta = meta.expect("metadata");
    match meta.kind.as_ref().expect("a kind of metadata") {
        metadata::Kind::Default(name) => assert!(!name.is_empty()),
        metadata::Kind::Resource(resource) => {
            let parts = [
                &resource.group,
                &resource.kind,
                &resource.name,
                &resource.namespace,
            ];
            assert!(parts.iter().all(|part| !part.is_empty()), "{resource:?}");
            for part in parts {
                label_value(part);
            }
            label_value(&resource.section);
        }
    }
}

/// The same three keys in all policies.
fn policy_labels(found: &HashMap<String, String>) {
    labels(found);
    let keys: BTreeSet<_> = found.keys().map(String::as_str).collect();
    assert_eq!(keys, BTreeSet::from(["group", "kind", "name"]));
    assert!(!found["kind"].is_empty() && !found["name"].is_empty());
}

fn labels(labels: &HashMap<String, String>) {
    for (key, value) in labels {
        let plain = |c: char| c.is_ascii_lowercase() || c == '_';
        assert!(!key.is_empty() && key.chars().all(plain), "{key:?}");
        label_value(value);
    }
}

/// Written into Prometheus text as it is.
fn label_value(value: &str) {
    let bad = |c: char| c.is_control() || matches!(c, '"' | '\\');
    assert!(!value.contains(bad), "{value:?}");
}
