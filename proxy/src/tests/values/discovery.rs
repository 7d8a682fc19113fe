//! Answers of discovery: endpoints that come and go, and profiles.

use linkerd2_proxy_api::{
    destination::{
        AddrSet, DestinationProfile, HttpStatusRange, NoEndpoints, PathMatch, RequestMatch,
        ResponseClass, ResponseMatch, RetryBudget, Route, Update, WeightedAddrSet, WeightedDst,
        request_match, response_match, update,
    },
    http_types::{HttpMethod, http_method},
};
use proptest::{collection::vec, option, prelude::*};

use super::{address, endpoint, labels, name, regex, time, travel};
use crate::{
    control::Event,
    outbound::{
        balance::set::Endpoints,
        policy::{BackendSpec, profile},
    },
};

fn update() -> BoxedStrategy<Update> {
    let add = (vec(endpoint(), 0..4), labels()).prop_map(|(addrs, metric_labels)| {
        update::Update::Add(WeightedAddrSet {
            addrs,
            metric_labels,
        })
    });
    let addrs = vec(address().prop_map(Option::unwrap_or_default), 0..4);
    let remove = addrs.prop_map(|addrs| update::Update::Remove(AddrSet { addrs }));
    let none = any::<bool>().prop_map(|exists| update::Update::NoEndpoints(NoEndpoints { exists }));
    option::of(prop_oneof![3 => add, 1 => remove, 1 => none])
        .prop_map(|update| Update { update })
        .boxed()
}

/// Conditions of this kind: these, and what is made of several.
macro_rules! nested {
    ($leaf:expr, $message:ident, $kind:ident) => {{
        use $kind::{Match, Seq};
        let leaf = option::of($leaf).prop_map(|r#match| $message { r#match });
        leaf.prop_recursive(3, 12, 3, |inner| {
            let seq = || vec(inner.clone(), 0..3).prop_map(|matches| Seq { matches });
            let kind = prop_oneof![
                seq().prop_map(Match::All),
                seq().prop_map(Match::Any),
                inner.clone().prop_map(|one| Match::Not(Box::new(one))),
            ];
            kind.prop_map(|kind| $message {
                r#match: Some(kind),
            })
        })
        .boxed()
    }};
}

fn request_match() -> BoxedStrategy<RequestMatch> {
    use request_match::Match;
    let method = prop_oneof![
        any::<i32>().prop_map(http_method::Type::Registered),
        name().prop_map(http_method::Type::Unregistered),
    ];
    let method = option::of(method).prop_map(|r#type| Match::Method(HttpMethod { r#type }));
    let leaf = prop_oneof![
        regex().prop_map(|regex| Match::Path(PathMatch { regex })),
        method,
    ];
    nested!(leaf, RequestMatch, request_match)
}

fn response_match() -> BoxedStrategy<ResponseMatch> {
    use response_match::Match;
    let range = (any::<u32>(), any::<u32>())
        .prop_map(|(min, max)| Match::Status(HttpStatusRange { min, max }));
    nested!(range, ResponseMatch, response_match)
}

fn route() -> BoxedStrategy<Route> {
    let class =
        (option::of(response_match()), any::<bool>()).prop_map(|(condition, is_failure)| {
            ResponseClass {
                condition,
                is_failure,
            }
        });
    (
        option::of(request_match()),
        vec(class, 0..2),
        labels(),
        any::<bool>(),
        time(),
    )
        .prop_map(
            |(condition, response_classes, metrics_labels, is_retryable, timeout)| Route {
                condition,
                response_classes,
                metrics_labels,
                is_retryable,
                timeout,
            },
        )
        .boxed()
}

fn profile() -> BoxedStrategy<DestinationProfile> {
    let ratio = prop_oneof![Just(0.2), Just(f32::NAN), Just(f32::INFINITY), any::<f32>()];
    let budget =
        (ratio, any::<u32>(), time()).prop_map(|(retry_ratio, min_retries_per_second, ttl)| {
            RetryBudget {
                retry_ratio,
                min_retries_per_second,
                ttl,
            }
        });
    let weight = prop_oneof![Just(0), Just(1), Just(u32::MAX)];
    let leaf = (name(), weight).prop_map(|(authority, weight)| WeightedDst {
        authority,
        weight,
        ..Default::default()
    });
    (
        (name(), any::<bool>(), option::of(budget)),
        vec(route(), 0..3),
        vec(leaf, 0..3),
        option::of(endpoint()),
    )
        .prop_map(|(about, routes, dst_overrides, endpoint)| {
            let (fully_qualified_name, opaque_protocol, retry_budget) = about;
            DestinationProfile {
                fully_qualified_name,
                opaque_protocol,
                retry_budget,
                routes,
                dst_overrides,
                endpoint,
                ..Default::default()
            }
        })
        .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn endpoints_of_any_values_come_and_go(
        updates in vec((update(), any::<bool>()), 1..6),
    ) {
        let mut endpoints = Endpoints::default();
        for (message, first) in updates {
            let none = matches!(message.update, Some(update::Update::NoEndpoints(_)));
            endpoints.apply("web:80", Event::Message { message, first });
            prop_assert!(!none || endpoints.iter().next().is_none());
        }
    }

    #[test]
    fn a_profile_of_any_values_is_followed(profile in profile()) {
        let _ = profile::decides(&profile);
        travel(&profile::policy(&profile, BackendSpec::Fail("none".into())));
    }
}
