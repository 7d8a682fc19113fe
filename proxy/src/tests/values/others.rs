//! What policies have besides HTTP routes.

use linkerd2_proxy_api::{
    grpc_route as grpc_wire, http_route as wire, opaque_route as opaque_wire,
    outbound::{
        self as api, FailureAccrual, failure_accrual as kinds, grpc_route as grpc,
        proxy_protocol::{Opaque, Tls},
    },
    tls_route as tls_wire,
};
use proptest::{collection::vec, option, prelude::*};

use super::{backend, backoff, metadata, name, regex, time, timeouts};

/// When an endpoint is taken out.
pub(super) fn accrual() -> BoxedStrategy<FailureAccrual> {
    let few = || prop_oneof![Just(0), Just(1), any::<u32>()];
    let consecutive = (few(), option::of(backoff())).prop_map(|(max_failures, backoff)| {
        kinds::Kind::ConsecutiveFailures(kinds::ConsecutiveFailures {
            max_failures,
            backoff,
        })
    });
    let rate = prop_oneof![Just(0.0), Just(0.8), Just(f64::NAN), any::<f64>()];
    let unified = (rate, time(), few(), few(), option::of(backoff())).prop_map(
        |(success_rate_threshold, decay, min_requests, max_consecutive_failures, backoff)| {
            kinds::Kind::Unified(kinds::Unified {
                success_rate_threshold,
                decay,
                min_requests,
                max_consecutive_failures,
                backoff,
            })
        },
    );
    option::of(prop_oneof![consecutive, unified])
        .prop_map(|kind| FailureAccrual {
            kind,
            ..Default::default()
        })
        .boxed()
}

/// A condition of a gRPC route.
pub(super) fn grpc_match() -> BoxedStrategy<grpc_wire::GrpcRouteMatch> {
    let rpc =
        (name(), name()).prop_map(|(service, method)| grpc_wire::GrpcRpcMatch { service, method });
    let value = prop_oneof![
        any::<Vec<u8>>().prop_map(wire::header_match::Value::Exact),
        regex().prop_map(wire::header_match::Value::Regex),
    ];
    let header =
        (name(), option::of(value)).prop_map(|(name, value)| wire::HeaderMatch { name, value });
    (option::of(rpc), vec(header, 0..2))
        .prop_map(|(rpc, headers)| grpc_wire::GrpcRouteMatch { rpc, headers })
        .boxed()
}

fn host() -> BoxedStrategy<wire::HostMatch> {
    use wire::host_match::{Match, Suffix};
    let kind = prop_oneof![
        name().prop_map(Match::Exact),
        vec(name(), 0..3).prop_map(|reverse_labels| Match::Suffix(Suffix { reverse_labels })),
    ];
    option::of(kind)
        .prop_map(|r#match| wire::HostMatch { r#match })
        .boxed()
}

fn grpc_rule() -> BoxedStrategy<grpc::Rule> {
    use grpc::{filter::Kind, retry::Conditions};
    let injector =
        (any::<u32>(), any::<u32>(), any::<u32>()).prop_map(|(code, numerator, denominator)| {
            Kind::FailureInjector(grpc_wire::GrpcFailureInjector {
                code,
                message: "é\r\n".into(),
                ratio: Some(wire::Ratio {
                    numerator,
                    denominator,
                }),
            })
        });
    let filter = option::of(injector).prop_map(|kind| grpc::Filter { kind });
    let conditions = any::<bool>().prop_map(|internal| Conditions {
        internal,
        ..Default::default()
    });
    let retry = (
        any::<u32>(),
        any::<u32>(),
        time(),
        option::of(backoff()),
        option::of(conditions),
    )
        .prop_map(
            |(max_retries, max_request_bytes, timeout, backoff, conditions)| grpc::Retry {
                max_retries,
                max_request_bytes,
                timeout,
                backoff,
                conditions,
            },
        );
    rule!(grpc_route, grpc_match(), filter, retry)
}

/// Routes of gRPC.
pub(super) fn grpc_routes() -> BoxedStrategy<Vec<api::GrpcRoute>> {
    let route = (metadata(), vec(host(), 0..2), vec(grpc_rule(), 0..3)).prop_map(
        |(metadata, hosts, rules)| api::GrpcRoute {
            metadata,
            hosts,
            rules,
        },
    );
    vec(route, 0..2).boxed()
}

/// A rule of a route of this kind, which looks at no requests.
macro_rules! bytes_rule {
    ($kind:ident) => {{
        use api::$kind::{Filter, Rule, filter::Kind};
        let kind = prop_oneof![
            Just(Kind::Invalid(opaque_wire::Invalid::default())),
            Just(Kind::Forbidden(opaque_wire::Forbidden {})),
        ];
        let filter = option::of(kind).prop_map(|kind| Filter { kind });
        (distribution!($kind), vec(filter, 0..2))
            .prop_map(|(backends, filters)| Rule { backends, filters })
    }};
}

/// Routes of bytes.
pub(super) fn opaque() -> BoxedStrategy<Opaque> {
    let rule = bytes_rule!(opaque_route);
    let route = (metadata(), vec(rule, 0..2))
        .prop_map(|(metadata, rules)| api::OpaqueRoute { metadata, rules });
    vec(route, 0..2)
        .prop_map(|routes| Opaque { routes })
        .boxed()
}

/// Routes of the application's own TLS.
pub(super) fn tls() -> BoxedStrategy<Tls> {
    use tls_wire::sni_match::{Match, Suffix};
    let rule = bytes_rule!(tls_route);
    let sni = prop_oneof![
        name().prop_map(Match::Exact),
        vec(name(), 0..3).prop_map(|reverse_labels| Match::Suffix(Suffix { reverse_labels })),
    ];
    let sni = option::of(sni).prop_map(|r#match| tls_wire::SniMatch { r#match });
    let route =
        (metadata(), vec(sni, 0..2), vec(rule, 0..2)).prop_map(|(metadata, snis, rules)| {
            api::TlsRoute {
                metadata,
                snis,
                rules,
            }
        });
    vec(route, 0..2).prop_map(|routes| Tls { routes }).boxed()
}
