//! Policies of the inbound half.

use std::{net::IpAddr, time::Instant};

use ::http::Request;
use linkerd2_proxy_api::{
    inbound::{
        Authn, Authz, GrpcRoute, HttpLocalRateLimit, HttpRoute, Identity, IdentitySuffix, Network,
        Server, authn, grpc_route, http_local_rate_limit as limits, http_route,
        proxy_protocol::{Detect, Grpc, Http1, Http2, Kind, Opaque, Tls},
        {self as api},
    },
    net,
};
use proptest::{collection::vec, option, prelude::*};

use super::{labels, matching, metadata, name, others::grpc_match, time};
use crate::inbound::policy::{Client, ServerPolicy};

const ID: &str = "web.default.serviceaccount.identity.linkerd.cluster.local";

fn network() -> BoxedStrategy<Network> {
    let ip = prop_oneof![
        any::<u32>().prop_map(net::ip_address::Ip::Ipv4),
        (any::<u64>(), any::<u64>())
            .prop_map(|(first, last)| net::ip_address::Ip::Ipv6(net::IPv6 { first, last })),
    ];
    let ip = option::of(option::of(ip).prop_map(|ip| net::IpAddress { ip }));
    let length = prop_oneof![Just(0), Just(32), Just(129), any::<u32>()];
    let net = || (ip.clone(), length.clone());
    let of = |(ip, prefix_len)| net::IpNetwork { ip, prefix_len };
    (option::of(net()), vec(net(), 0..2))
        .prop_map(move |(whole, except)| Network {
            net: whole.map(of),
            except: except.into_iter().map(of).collect(),
        })
        .boxed()
}

fn authn() -> BoxedStrategy<Authn> {
    use authn::{
        Permit, PermitMeshTls, PermitUnauthenticated,
        permit_mesh_tls::{Clients, PermitClientIdentities},
    };
    let id = prop_oneof![Just(ID.to_owned()), name()];
    let identities = vec(id.prop_map(|name| Identity { name }), 0..3);
    let suffixes = vec(
        vec(name(), 0..3).prop_map(|parts| IdentitySuffix { parts }),
        0..3,
    );
    let named = (identities, suffixes).prop_map(|(identities, suffixes)| {
        Clients::Identities(PermitClientIdentities {
            identities,
            suffixes,
        })
    });
    let clients = option::of(prop_oneof![
        Just(Clients::Unauthenticated(PermitUnauthenticated {})),
        named,
    ]);
    let permit = prop_oneof![
        Just(Permit::Unauthenticated(PermitUnauthenticated {})),
        clients.prop_map(|clients| Permit::MeshTls(PermitMeshTls { clients })),
    ];
    option::of(permit)
        .prop_map(|permit| Authn { permit })
        .boxed()
}

fn authz() -> BoxedStrategy<Authz> {
    (
        vec(network(), 0..3),
        option::of(authn()),
        labels(),
        metadata(),
    )
        .prop_map(|(networks, authentication, labels, metadata)| Authz {
            networks,
            authentication,
            labels,
            metadata,
        })
        .boxed()
}

fn http_routes() -> BoxedStrategy<Vec<HttpRoute>> {
    let rule = vec(matching(), 0..2).prop_map(|matches| http_route::Rule {
        matches,
        ..Default::default()
    });
    let route = (metadata(), vec(authz(), 0..2), vec(rule, 0..2)).prop_map(
        |(metadata, authorizations, rules)| HttpRoute {
            metadata,
            authorizations,
            rules,
            ..Default::default()
        },
    );
    vec(route, 0..2).boxed()
}

fn grpc_routes() -> BoxedStrategy<Vec<GrpcRoute>> {
    let rule = vec(grpc_match(), 0..2).prop_map(|matches| grpc_route::Rule {
        matches,
        ..Default::default()
    });
    let route = (metadata(), vec(authz(), 0..2), vec(rule, 0..2)).prop_map(
        |(metadata, authorizations, rules)| GrpcRoute {
            metadata,
            authorizations,
            rules,
            ..Default::default()
        },
    );
    vec(route, 0..2).boxed()
}

fn rate_limit() -> BoxedStrategy<Option<HttpLocalRateLimit>> {
    let limit = || {
        let rate = prop_oneof![Just(0), Just(1), any::<u32>()];
        option::of(rate.prop_map(|requests_per_second| limits::Limit {
            requests_per_second,
        }))
    };
    let identities = vec(name().prop_map(|name| Identity { name }), 0..2);
    let clients = option::of(
        identities.prop_map(|identities| limits::r#override::ClientIdentities { identities }),
    );
    let one = (limit(), clients).prop_map(|(limit, clients)| limits::Override { limit, clients });
    let limits = (metadata(), limit(), limit(), vec(one, 0..2)).prop_map(
        |(metadata, total, identity, overrides)| HttpLocalRateLimit {
            metadata,
            total,
            identity,
            overrides,
        },
    );
    option::of(limits).boxed()
}

fn server() -> BoxedStrategy<Server> {
    let detect = (time(), http_routes(), rate_limit()).prop_map(
        |(timeout, http_routes, http_local_rate_limit)| {
            Kind::Detect(Detect {
                timeout,
                http_routes,
                http_local_rate_limit,
            })
        },
    );
    let http1 = (http_routes(), rate_limit()).prop_map(|(routes, local_rate_limit)| {
        Kind::Http1(Http1 {
            routes,
            local_rate_limit,
        })
    });
    let http2 = (http_routes(), rate_limit()).prop_map(|(routes, local_rate_limit)| {
        Kind::Http2(Http2 {
            routes,
            local_rate_limit,
        })
    });
    let grpc = grpc_routes().prop_map(|routes| Kind::Grpc(Grpc { routes }));
    let kind = prop_oneof![
        detect.boxed(),
        http1.boxed(),
        http2.boxed(),
        grpc.boxed(),
        Just(Kind::Opaque(Opaque {})),
        Just(Kind::Tls(Tls {})),
    ];
    let protocol = option::of(option::of(kind).prop_map(|kind| api::ProxyProtocol { kind }));
    (protocol.boxed(), vec(authz(), 0..3), labels())
        .prop_map(|(protocol, authorizations, labels)| Server {
            protocol,
            authorizations,
            labels,
            ..Default::default()
        })
        .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn an_inbound_policy_of_any_values_is_followed_or_refused(server in server()) {
        let Ok(policy) = ServerPolicy::try_from(server) else {
            return Ok(());
        };
        let id: mesh_tls::Id = ID.parse().unwrap();
        for ip in ["10.0.0.1", "::1", "::ffff:10.0.0.1"] {
            let ip: IpAddr = ip.parse().unwrap();
            for mesh_tls in [None, Some(None), Some(Some(&id))] {
                let client = Client { ip, mesh_tls };
                // A connection that is let in is one that something is allowed to.
                let admitted = policy.authorize_tcp(client).is_some();
                prop_assert!(!admitted || policy.allows_anything(client));
                let request = Request::post("http://web/a/b?c=d").header("x", "y");
                let request = request.body(()).unwrap();
                if let Some(found) = policy.find(&request) {
                    let allowed = policy.authorize_http(&found.rule.then, client).is_some();
                    prop_assert!(!allowed || policy.allows_anything(client));
                }
            }
        }
        if let Some(limit) = &policy.rate_limit {
            let _ = limit.take(Some(&id), Instant::now());
            let _ = limit.take(None, Instant::now());
        }
    }
}
