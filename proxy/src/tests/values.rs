//! No policy can break a sidecar, whatever its fields say: each is drawn from what is usual, what is
//! missing and what is a trap (names that are none, port 0, weights of zero, durations below zero).
//!
//! The parts of a policy are drawn by boxed strategies: in one piece, drawing overflows a test's stack.

use std::collections::HashMap;

use ::http::Request;
use linkerd2_proxy_api::{
    destination::{self as dst, AuthorityOverride, TlsIdentity, WeightedAddr, tls_identity},
    http_route as wire, inbound, meta, net,
    outbound::{self as api, OutboundPolicy, http_route as http},
};
use proptest::{collection::vec, option, prelude::*};

use crate::{
    http::{Body, filter, route::find},
    inbound::policy::ServerPolicy,
    outbound::{
        policy::{Policy, convert},
        tests::sandbox::Mesh,
    },
};

fn name() -> impl Strategy<Value = String> {
    let traps = [
        "web.default.svc.cluster.local:80",
        "web.default.svc.cluster.local",
        "10.0.0.1:80",
        "[::1]:80",
        "web:0",
        "web:65536",
        ":80",
        ":",
        "",
        "a\r\nb: c",
        "é:80",
    ];
    prop_oneof![
        8 => proptest::sample::select(traps.to_vec()).prop_map(str::to_owned),
        1 => any::<String>(),
    ]
}

fn regex() -> impl Strategy<Value = String> {
    let traps = [
        "/a.*",
        "(",
        "(a+)+$",
        "\\",
        "",
        "[[:alpha:]",
        "(?i)x{1000000}",
    ];
    proptest::sample::select(traps.to_vec()).prop_map(str::to_owned)
}

fn time() -> BoxedStrategy<Option<prost_types::Duration>> {
    let any = (any::<i64>(), any::<i32>());
    let usual = (0..3_i64, 0..1_000_000_000_i32);
    let for_ever = Just((i64::MAX, 999_999_999));
    let duration = prop_oneof![4 => usual, 2 => any, 1 => for_ever]
        .prop_map(|(seconds, nanos)| prost_types::Duration { seconds, nanos });
    option::of(duration).boxed()
}

#[test]
fn durations_for_ever_fit_the_clock() {
    let for_ever = prost_types::Duration {
        seconds: i64::MAX,
        nanos: 999_999_999,
    };
    let now = std::time::Instant::now();
    let outbound = convert::duration(Some(for_ever)).expect("a limit");
    // As the longest pause is: with all the jitter there may be.
    assert!(now.checked_add(outbound.saturating_mul(11)).is_some());
    let server = inbound::Server {
        protocol: Some(inbound::ProxyProtocol {
            kind: Some(inbound::proxy_protocol::Kind::Detect(
                inbound::proxy_protocol::Detect {
                    timeout: Some(for_ever),
                    ..Default::default()
                },
            )),
        }),
        ..Default::default()
    };
    let policy = ServerPolicy::try_from(server).expect("a policy");
    let crate::inbound::policy::Protocol::Detect { timeout, .. } = policy.protocol else {
        panic!("{:?}", policy.protocol)
    };
    assert!(now.checked_add(timeout).is_some());
}

fn metadata() -> impl Strategy<Value = Option<meta::Metadata>> {
    let kind = prop_oneof![
        name().prop_map(meta::metadata::Kind::Default),
        (name(), any::<u32>()).prop_map(|(name, port)| {
            meta::metadata::Kind::Resource(meta::Resource {
                name,
                port,
                ..Default::default()
            })
        }),
    ];
    option::of(option::of(kind).prop_map(|kind| meta::Metadata { kind }))
}

fn address() -> impl Strategy<Value = Option<net::TcpAddress>> {
    let ip = prop_oneof![
        Just(net::ip_address::Ip::Ipv4(0)),
        Just(net::ip_address::Ip::Ipv4(0x7f00_0001)),
        any::<u32>().prop_map(net::ip_address::Ip::Ipv4),
        (any::<u64>(), any::<u64>())
            .prop_map(|(first, last)| net::ip_address::Ip::Ipv6(net::IPv6 { first, last })),
    ];
    let ip = option::of(option::of(ip).prop_map(|ip| net::IpAddress { ip }));
    let port = prop_oneof![Just(0), Just(1), Just(65_535), Just(65_536), any::<u32>()];
    option::of((ip, port).prop_map(|(ip, port)| net::TcpAddress { ip, port }))
}

fn tls_identity() -> BoxedStrategy<Option<TlsIdentity>> {
    use tls_identity::{DnsLikeIdentity, Strategy as Kind, UriLikeIdentity};
    let uri = prop_oneof![Just("spiffe://mesh/web".to_owned()), name()];
    let strategy = prop_oneof![
        name().prop_map(|name| Kind::DnsLikeIdentity(DnsLikeIdentity { name })),
        uri.prop_map(|uri| Kind::UriLikeIdentity(UriLikeIdentity { uri })),
    ];
    let server_name = option::of(name().prop_map(|name| DnsLikeIdentity { name }));
    let identity =
        (server_name, option::of(strategy)).prop_map(|(server_name, strategy)| TlsIdentity {
            server_name,
            strategy,
        });
    option::of(identity).boxed()
}

fn hint() -> BoxedStrategy<Option<dst::ProtocolHint>> {
    use dst::protocol_hint::{H2, Opaque, OpaqueTransport, Protocol};
    let protocol = option::of(prop_oneof![
        Just(Protocol::H2(H2 {})),
        Just(Protocol::Opaque(Opaque {})),
    ]);
    let port = prop_oneof![
        Just(0),
        Just(4143),
        Just(65_535),
        Just(65_536),
        any::<u32>()
    ];
    let transport = option::of(port.prop_map(|inbound_port| OpaqueTransport { inbound_port }));
    let hint = (protocol, transport).prop_map(|(protocol, opaque_transport)| dst::ProtocolHint {
        protocol,
        opaque_transport,
    });
    option::of(hint).boxed()
}

fn http2() -> BoxedStrategy<Option<dst::Http2ClientParams>> {
    use dst::http2_client_params::{FlowControl, KeepAlive};
    let windows = (any::<u32>(), any::<u32>(), any::<bool>()).prop_map(
        |(connection, stream, adaptive_flow_control)| FlowControl {
            initial_connection_window_size: connection,
            initial_stream_window_size: stream,
            adaptive_flow_control,
        },
    );
    let pings =
        (time(), time(), any::<bool>()).prop_map(|(interval, timeout, while_idle)| KeepAlive {
            interval,
            timeout,
            while_idle,
        });
    let params = (option::of(windows), option::of(pings)).prop_map(|(flow_control, keep_alive)| {
        dst::Http2ClientParams {
            flow_control,
            keep_alive,
            ..Default::default()
        }
    });
    option::of(params).boxed()
}

fn labels() -> BoxedStrategy<HashMap<String, String>> {
    proptest::collection::hash_map(name(), name(), 0..2).boxed()
}

fn endpoint() -> BoxedStrategy<WeightedAddr> {
    let authority = option::of(name().prop_map(|name| AuthorityOverride {
        authority_override: name,
    }));
    let what = (address(), any::<u32>(), tls_identity(), authority);
    (what, hint(), http2(), labels())
        .prop_map(|(what, protocol_hint, http2, metric_labels)| {
            let (addr, weight, tls_identity, authority_override) = what;
            WeightedAddr {
                addr,
                weight,
                tls_identity,
                authority_override,
                protocol_hint,
                http2,
                metric_labels,
                ..Default::default()
            }
        })
        .boxed()
}

fn backend() -> BoxedStrategy<Option<api::Backend>> {
    use api::backend::{
        BalanceP2c, EndpointDiscovery, Kind, balance_p2c as load, endpoint_discovery as discovery,
    };
    let dst = name().prop_map(|path| discovery::Kind::Dst(discovery::DestinationGet { path }));
    let dst = option::of(option::of(dst).prop_map(|kind| EndpointDiscovery { kind }));
    let ewma = (time(), time()).prop_map(|(default_rtt, decay)| {
        load::Load::PeakEwma(load::PeakEwma { default_rtt, decay })
    });
    let penalized = (time(), time(), time(), time()).prop_map(
        |(default_rtt, decay, penalty, max_retry_after)| {
            load::Load::PenaltyPeakEwma(load::PenaltyPeakEwma {
                default_rtt,
                decay,
                penalty,
                max_retry_after,
                ..Default::default()
            })
        },
    );
    let load = prop_oneof![3 => ewma, 1 => penalized];
    let balancer = (dst, option::of(load))
        .prop_map(|(discovery, load)| Kind::Balancer(BalanceP2c { discovery, load }));
    let kind = prop_oneof![3 => balancer, 1 => endpoint().prop_map(Kind::Forward)];
    let queue = (any::<u32>(), time()).prop_map(|(capacity, failfast_timeout)| api::Queue {
        capacity,
        failfast_timeout,
    });
    option::of((metadata(), option::of(queue), option::of(kind)).prop_map(
        |(metadata, queue, kind)| api::Backend {
            metadata,
            queue,
            kind,
        },
    ))
    .boxed()
}

/// Backends of one kind of route: the API has types of the same shape for each.
macro_rules! distribution {
    ($kind:ident) => {{
        use api::$kind::{Distribution, RouteBackend, WeightedRouteBackend, distribution as kind};
        let one = || {
            backend().prop_map(|backend| RouteBackend {
                backend,
                ..Default::default()
            })
        };
        let weight = prop_oneof![Just(0), Just(1), Just(u32::MAX)];
        let weighted = (option::of(one()), weight)
            .prop_map(|(backend, weight)| WeightedRouteBackend { backend, weight });
        let kinds = prop_oneof![
            Just(kind::Kind::Empty(kind::Empty {})),
            vec(one(), 0..3)
                .prop_map(|backends| kind::Kind::FirstAvailable(kind::FirstAvailable { backends })),
            vec(weighted, 0..3).prop_map(|backends| {
                kind::Kind::RandomAvailable(kind::RandomAvailable { backends })
            }),
        ];
        option::of(option::of(kinds).prop_map(|kind| Distribution { kind })).boxed()
    }};
}

/// A rule of a route of this kind, of these conditions, filters and retries.
macro_rules! rule {
    ($kind:ident, $matching:expr, $filter:expr, $retry:expr) => {
        (
            vec($matching, 0..2),
            vec($filter, 0..2),
            distribution!($kind),
            option::of(timeouts()),
            option::of($retry),
        )
            .prop_map(
                |(matches, filters, backends, timeouts, retry)| api::$kind::Rule {
                    matches,
                    filters,
                    backends,
                    timeouts,
                    retry,
                    allow_l5d_request_headers: true,
                    ..Default::default()
                },
            )
            .boxed()
    };
}

mod discovery;
mod others;
mod server;

fn matching() -> BoxedStrategy<wire::HttpRouteMatch> {
    use wire::{header_match, path_match};
    let path = prop_oneof![
        name().prop_map(path_match::Kind::Exact),
        name().prop_map(path_match::Kind::Prefix),
        regex().prop_map(path_match::Kind::Regex),
    ];
    let path = option::of(option::of(path).prop_map(|kind| wire::PathMatch { kind }));
    let value = prop_oneof![
        any::<Vec<u8>>().prop_map(header_match::Value::Exact),
        regex().prop_map(header_match::Value::Regex),
    ];
    let header =
        (name(), option::of(value)).prop_map(|(name, value)| wire::HeaderMatch { name, value });
    (path, vec(header, 0..2))
        .prop_map(|(path, headers)| wire::HttpRouteMatch {
            path,
            headers,
            ..Default::default()
        })
        .boxed()
}

fn timeouts() -> BoxedStrategy<wire::Timeouts> {
    (time(), time(), time())
        .prop_map(|(request, response, idle)| wire::Timeouts {
            request,
            response,
            idle,
        })
        .boxed()
}

fn backoff() -> BoxedStrategy<api::ExponentialBackoff> {
    (time(), time(), any::<f32>())
        .prop_map(
            |(min_backoff, max_backoff, jitter_ratio)| api::ExponentialBackoff {
                min_backoff,
                max_backoff,
                jitter_ratio,
                respect_retry_after_hint: true,
            },
        )
        .boxed()
}

fn rule() -> BoxedStrategy<http::Rule> {
    use http::filter::Kind;
    let redirect = (name(), any::<u32>(), any::<u32>()).prop_map(|(host, port, status)| {
        Kind::Redirect(wire::RequestRedirect {
            host,
            port,
            status,
            ..Default::default()
        })
    });
    let ratio =
        (any::<u32>(), any::<u32>(), any::<u32>()).prop_map(|(status, numerator, denominator)| {
            Kind::FailureInjector(wire::HttpFailureInjector {
                status,
                message: String::new(),
                ratio: Some(wire::Ratio {
                    numerator,
                    denominator,
                }),
            })
        });
    let filter = option::of(prop_oneof![redirect, ratio]).prop_map(|kind| http::Filter { kind });
    let retry = (any::<u32>(), any::<u32>(), time(), option::of(backoff())).prop_map(
        |(max_retries, max_request_bytes, timeout, backoff)| http::Retry {
            max_retries,
            max_request_bytes,
            timeout,
            backoff,
            ..Default::default()
        },
    );
    rule!(http_route, matching(), filter, retry)
}

fn routes() -> impl Strategy<Value = Vec<api::HttpRoute>> {
    let route = (metadata(), vec(rule(), 0..3)).prop_map(|(metadata, rules)| api::HttpRoute {
        metadata,
        hosts: Vec::new(),
        rules,
    });
    vec(route, 0..2)
}

fn policy() -> impl Strategy<Value = OutboundPolicy> {
    use api::proxy_protocol::{Detect, Grpc, Http1, Http2, Kind};
    let http1 = || {
        (routes(), option::of(others::accrual())).prop_map(|(routes, failure_accrual)| Http1 {
            routes,
            failure_accrual,
        })
    };
    let http2 = || {
        (routes(), option::of(others::accrual())).prop_map(|(routes, failure_accrual)| Http2 {
            routes,
            failure_accrual,
        })
    };
    let grpc = (others::grpc_routes(), option::of(others::accrual())).prop_map(
        |(routes, failure_accrual)| Grpc {
            routes,
            failure_accrual,
        },
    );
    let detect = (
        time(),
        option::of(http1()),
        option::of(http2()),
        option::of(others::opaque()),
    )
        .prop_map(|(timeout, http1, http2, opaque)| {
            Kind::Detect(Detect {
                timeout,
                opaque,
                http1,
                http2,
            })
        });
    let kind = prop_oneof![
        4 => detect,
        2 => http1().prop_map(Kind::Http1),
        2 => http2().prop_map(Kind::Http2),
        2 => grpc.prop_map(Kind::Grpc),
        1 => others::opaque().prop_map(Kind::Opaque),
        1 => others::tls().prop_map(Kind::Tls),
    ]
    .boxed();
    let protocol = option::of(option::of(kind).prop_map(|kind| api::ProxyProtocol { kind }));
    (metadata(), protocol).prop_map(|(metadata, protocol)| OutboundPolicy { metadata, protocol })
}

/// What a request goes through.
fn travel(policy: &Policy) {
    let _ = policy.opaque();
    let _ = policy.tls(Some("web.default"));
    for version in [::http::Version::HTTP_11, ::http::Version::HTTP_2] {
        let request = Request::builder()
            .version(version)
            .uri("http://web/a/b?c=d");
        let mut request = request.header("x", "y").body(()).unwrap();
        if let Ok(http) = policy.http(version)
            && let Some(found) = find(&http.routes, &request)
        {
            let _ = filter::on_request(&found.rule.filters, &mut request, found.prefix);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn an_outbound_policy_of_any_values_is_followed_or_refused(policy in policy()) {
        travel(&convert::policy(policy));
    }

    #[test]
    fn an_endpoint_of_any_values_is_used_or_refused(endpoint in endpoint()) {
        let _ = crate::outbound::endpoint::convert(&Default::default(), endpoint);
    }
}

/// The same with everything behind it alive: a request to a target of each policy has an end, and the
/// task that follows the policy survives it.
#[test]
fn a_request_under_a_policy_of_any_values_has_an_end() {
    // Values that shrink are large.
    let thread = std::thread::Builder::new().stack_size(64 * 1024 * 1024);
    thread.spawn(each_has_an_end).unwrap().join().unwrap();
}

fn each_has_an_end() {
    use proptest::test_runner::{Config, TestRunner};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let vars = [("OUTBOUND_HTTP_FAILFAST_TIMEOUT", "20ms")];
    let mesh = runtime.block_on(Mesh::with(&vars));
    let port = std::cell::Cell::new(1_u16);
    let mut runner = TestRunner::new(Config::with_cases(150));
    let checked = runner.run(&policy(), |policy| {
        port.set(port.get() + 1);
        let target = format!("10.0.0.9:{}", port.get());
        mesh.control.policy(&target, policy);
        let request = Request::get("/").header("host", "web");
        let request = request.body(Body::empty()).unwrap();
        let sent = runtime.block_on(async {
            let limit = std::time::Duration::from_secs(20);
            tokio::time::timeout(limit, mesh.send(&target, request)).await
        });
        let ended = sent.map_err(|_| TestCaseError::fail("no end"))?;
        if let Err(crate::Error::Shutdown) = ended {
            return Err(TestCaseError::fail(
                "the task that follows the policy is gone",
            ));
        }
        Ok(())
    });
    checked.unwrap();
}
