use http::Request;

use super::*;
use crate::http::route::find;

fn apex() -> BackendSpec {
    BackendSpec::Balancer(BalancerSpec::named("apex:80".into()))
}

fn path(regex: &str) -> api::RequestMatch {
    api::RequestMatch {
        r#match: Some(request_match::Match::Path(api::PathMatch {
            regex: regex.to_owned(),
        })),
    }
}

fn route(condition: api::RequestMatch) -> api::Route {
    api::Route {
        condition: Some(condition),
        ..Default::default()
    }
}

fn budget(ratio: f32, ttl: i64) -> Option<api::RetryBudget> {
    Some(api::RetryBudget {
        retry_ratio: ratio,
        min_retries_per_second: 5,
        ttl: Some(prost_types::Duration {
            seconds: ttl,
            nanos: 0,
        }),
    })
}

/// What the first version of HTTP does with a request.
fn action(profile: &DestinationProfile, request: &Request<()>) -> Action {
    let policy = policy(profile, apex());
    let http = policy.http(http::Version::HTTP_11).unwrap();
    find(&http.routes, request).unwrap().rule.then.clone()
}

fn get(uri: &str) -> Request<()> {
    Request::get(uri).body(()).unwrap()
}

#[test]
fn the_first_route_that_matches_is_taken_and_everything_else_goes_on() {
    let timed = |condition, seconds| api::Route {
        timeout: Some(prost_types::Duration { seconds, nanos: 0 }),
        ..route(condition)
    };
    let not_post = api::RequestMatch {
        r#match: Some(request_match::Match::Not(Box::new(api::RequestMatch {
            r#match: Some(request_match::Match::Method(http::Method::POST.into())),
        }))),
    };
    let both = api::RequestMatch {
        r#match: Some(request_match::Match::All(request_match::Seq {
            matches: vec![path("/a/.*"), not_post],
        })),
    };
    let profile = DestinationProfile {
        routes: vec![timed(both, 1), timed(path("/a/b"), 2), timed(path("/"), 3)],
        ..Default::default()
    };
    let seconds = |request| {
        let timeouts = action(&profile, &request).timeouts;
        timeouts.headers.map(|limit| limit.as_secs())
    };
    assert_eq!(seconds(get("/a/b")), Some(1));
    assert_eq!(seconds(Request::post("/a/b").body(()).unwrap()), Some(2));
    assert_eq!(seconds(get("/")), Some(3));
    assert_eq!(seconds(get("/x/a/b")), None, "a path matches as a whole");
}

#[test]
fn overrides_split_the_traffic_unless_they_weigh_nothing() {
    let to = |weights: &[(&str, u32)]| {
        let overrides = weights.iter().map(|(authority, weight)| api::WeightedDst {
            authority: (*authority).to_owned(),
            weight: *weight,
            backend_ref: None,
        });
        let profile = DestinationProfile {
            dst_overrides: overrides.collect(),
            ..Default::default()
        };
        assert!(decides(&profile));
        action(&profile, &get("/")).distribution
    };
    let Distribution::RandomAvailable(backends) = to(&[("a.:80", 3), ("b:80", 0)]) else {
        panic!("no split")
    };
    assert_eq!(backends.len(), 1);
    assert_eq!(backends[0].1, 3);
    let Distribution::FirstAvailable(backends) = to(&[("a:80", 0)]) else {
        panic!("a split")
    };
    assert_eq!(backends[0].backend, apex());
}

#[test]
fn a_route_is_retried_within_a_budget_that_makes_sense() {
    let retry = |retry_budget, is_retryable| {
        let profile = DestinationProfile {
            routes: vec![api::Route {
                is_retryable,
                ..route(path(".*"))
            }],
            retry_budget,
            ..Default::default()
        };
        action(&profile, &get("/")).retry
    };
    let limits = retry(budget(0.5, 10), true).unwrap().budget.unwrap();
    assert_eq!((limits.ratio, limits.reserve), (0.5, 50.0));
    assert!(retry(budget(0.5, 10), false).is_none());
    assert!(retry(None, true).is_none());
    for (ratio, ttl) in [
        (-1.0, 10),
        (1001.0, 10),
        (f32::NAN, 10),
        (0.5, 0),
        (0.5, 61),
    ] {
        assert!(retry(budget(ratio, ttl), true).is_none(), "{ratio} {ttl}");
    }
}

#[test]
fn the_first_class_of_a_status_says_whether_it_is_a_failure() {
    let class = |min, max, is_failure| api::ResponseClass {
        condition: Some(api::ResponseMatch {
            r#match: Some(response_match::Match::Status(api::HttpStatusRange {
                min,
                max,
            })),
        }),
        is_failure,
    };
    let classes = [class(503, 0, false), class(400, 599, true)];
    let budget = limits(&budget(1.0, 10).unwrap()).unwrap();
    let retry = retry(&classes, budget);
    let fails = |status| retry.statuses.contains(&(status, status));
    assert!(fails(404) && fails(500) && fails(600));
    assert!(!fails(503) && !fails(200));
}

#[test]
fn a_profile_that_cannot_be_followed_is_invalid() {
    for broken in [path("("), api::RequestMatch { r#match: None }] {
        let profile = DestinationProfile {
            routes: vec![route(broken)],
            ..Default::default()
        };
        let policy = policy(&profile, apex());
        assert!(matches!(policy.protocol, Protocol::Invalid(_)));
    }
}
