//! No message of a control plane can break a sidecar: valid ones with bytes changed at random are
//! understood, refused or ignored, and never panic.

use http::Request;
use linkerd2_proxy_api::{
    destination::{DestinationProfile, Update},
    http_route as wire, inbound,
    outbound::{self as api, OutboundPolicy},
};
use prost::Message;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{
    control::Event,
    http::{filter, route::find},
    inbound::policy::ServerPolicy,
    outbound::{
        balance::set::Endpoints,
        policy::{BackendSpec, BalancerSpec, Policy, convert, profile},
        tests::sandbox::{first_available, gateway, meshed, seconds},
    },
};

const ROUNDS: usize = 4_000;

/// Changes a few bytes: values, lengths, field numbers, whatever they are.
fn mutate(bytes: &[u8], rng: &mut StdRng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..rng.random_range(1..4) {
        let at = rng.random_range(0..bytes.len());
        match rng.random_range(0..8) {
            0 => bytes[at] = rng.random(),
            1 => bytes[at] = bytes[at].wrapping_add(1),
            2 => drop(bytes.remove(at)),
            3 => bytes.insert(at, rng.random()),
            _ => bytes[at] ^= 1 << rng.random_range(0..8),
        }
    }
    bytes
}

/// Hands `valid`, mutated again and again, to `take`; returns how often it was a message at all.
fn attack<M: Message + Default>(valid: &M, mut take: impl FnMut(M)) -> usize {
    let mut rng = StdRng::seed_from_u64(7);
    let bytes = valid.encode_to_vec();
    let mut decoded = 0;
    for _ in 0..ROUNDS {
        if let Ok(message) = M::decode(mutate(&bytes, &mut rng).as_slice()) {
            decoded += 1;
            take(message);
        }
    }
    decoded
}

/// What a request goes through.
fn travel(policy: &Policy) {
    let _ = policy.opaque();
    let _ = policy.tls(Some("web.default"));
    for version in [http::Version::HTTP_11, http::Version::HTTP_2] {
        let mut request = Request::builder()
            .version(version)
            .uri("http://web.default/a/b?c=d")
            .header("x-canary", "yes")
            .body(())
            .unwrap();
        if let Ok(http) = policy.http(version)
            && let Some(found) = find(&http.routes, &request)
        {
            let _ = filter::on_request(&found.rule.filters, &mut request, found.prefix);
        }
    }
}

fn rich_policy() -> OutboundPolicy {
    let mut policy = first_available(&["web.default.svc.cluster.local:80"]);
    let Some(api::proxy_protocol::Kind::Detect(detect)) =
        policy.protocol.as_mut().unwrap().kind.as_mut()
    else {
        panic!("not detected")
    };
    for routes in [
        &mut detect.http1.as_mut().unwrap().routes,
        &mut detect.http2.as_mut().unwrap().routes,
    ] {
        let rule = &mut routes[0].rules[0];
        rule.matches = vec![wire::HttpRouteMatch {
            path: Some(wire::PathMatch {
                kind: Some(wire::path_match::Kind::Prefix("/a".to_owned())),
            }),
            headers: vec![wire::HeaderMatch {
                name: "x-canary".to_owned(),
                value: Some(wire::header_match::Value::Regex("y.*".to_owned())),
            }],
            ..Default::default()
        }];
        rule.filters = vec![api::http_route::Filter {
            kind: Some(api::http_route::filter::Kind::Redirect(
                wire::RequestRedirect {
                    host: "other".to_owned(),
                    path: Some(wire::PathModifier {
                        replace: Some(wire::path_modifier::Replace::Prefix("/b".to_owned())),
                    }),
                    ..Default::default()
                },
            )),
        }];
        rule.timeouts = Some(wire::Timeouts {
            request: Some(seconds(10)),
            ..Default::default()
        });
        rule.retry = Some(api::http_route::Retry {
            max_retries: 3,
            timeout: Some(seconds(1)),
            backoff: Some(api::ExponentialBackoff::default()),
            ..Default::default()
        });
    }
    policy
}

#[test]
fn an_outbound_policy_cannot() {
    let valid = rich_policy();
    let decoded = attack(&valid, |message| travel(&convert::policy(message)));
    assert!(decoded > ROUNDS / 50, "{decoded}");
}

#[test]
fn a_service_profile_cannot() {
    use linkerd2_proxy_api::destination as dst;
    let path = dst::RequestMatch {
        r#match: Some(dst::request_match::Match::Path(dst::PathMatch {
            regex: "/a/.*".to_owned(),
        })),
    };
    let valid = DestinationProfile {
        fully_qualified_name: "web.default.svc.cluster.local".to_owned(),
        routes: vec![dst::Route {
            condition: Some(dst::RequestMatch {
                r#match: Some(dst::request_match::Match::Any(dst::request_match::Seq {
                    matches: vec![path],
                })),
            }),
            is_retryable: true,
            timeout: Some(seconds(1)),
            ..Default::default()
        }],
        retry_budget: Some(dst::RetryBudget {
            retry_ratio: 0.2,
            min_retries_per_second: 10,
            ttl: Some(seconds(10)),
        }),
        dst_overrides: vec![dst::WeightedDst {
            authority: "a.default:80".to_owned(),
            weight: 1,
            backend_ref: None,
        }],
        ..Default::default()
    };
    let apex = || BackendSpec::Balancer(BalancerSpec::named("web:80".into()));
    let decoded = attack(&valid, |message| travel(&profile::policy(&message, apex())));
    assert!(decoded > ROUNDS / 50, "{decoded}");
}

#[test]
fn endpoints_cannot() {
    use linkerd2_proxy_api::destination::{WeightedAddrSet, update};
    let addr = "10.0.0.1:80".parse().unwrap();
    let valid = Update {
        update: Some(update::Update::Add(WeightedAddrSet {
            addrs: vec![
                meshed(addr, "web.default"),
                gateway(addr, "gateway.linkerd", "web.default:80"),
            ],
            ..Default::default()
        })),
    };
    let mut endpoints = Endpoints::default();
    let decoded = attack(&valid, |message| {
        let first = message.encoded_len() % 7 == 0;
        endpoints.apply("web", Event::Message { message, first });
    });
    assert!(decoded > ROUNDS / 50, "{decoded}");
}

#[test]
fn an_inbound_policy_cannot() {
    use inbound::proxy_protocol::{Http1, Kind};
    let valid = {
        let mut server = crate::inbound::tests::sandbox::detect(&["client.default"]);
        server.protocol.as_mut().unwrap().kind = Some(Kind::Http1(Http1 {
            routes: vec![inbound::HttpRoute {
                rules: vec![inbound::http_route::Rule {
                    matches: vec![wire::HttpRouteMatch::default()],
                    filters: Vec::new(),
                }],
                ..Default::default()
            }],
            local_rate_limit: Some(inbound::HttpLocalRateLimit::default()),
        }));
        server
    };
    let request = Request::get("http://web/").body(()).unwrap();
    let decoded = attack(&valid, |message| {
        if let Ok(policy) = ServerPolicy::try_from(message) {
            let _ = policy.find(&request);
        }
    });
    assert!(decoded > ROUNDS / 50, "{decoded}");
}
