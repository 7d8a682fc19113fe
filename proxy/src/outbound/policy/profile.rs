//! What a ServiceProfile wants done with a target, as a policy like any other. Pure and total.
//!
//! Its routes are tried in order, and the first that matches is taken; its overrides split the
//! traffic; its budget limits the retries of its routes.

use std::{collections::HashMap, sync::Arc, time::Duration};

use linkerd2_proxy_api::destination::{
    self as api, DestinationProfile, request_match, response_match,
};

use super::{
    Action, BackendSpec, BalancerSpec, Distribution, Policy, Protocol, Retry, RouteBackend,
    RouteKind, RouteName, Timeouts,
    convert::{duration, path},
    names::object,
};
use crate::{
    http::{
        headers::GRPC_FAILURES,
        route::{Condition, Invalid, RequestMatch, Route, Rule, regex},
    },
    metrics::Object,
    outbound::{replay::MAX_KEPT, retry::Limits},
};

/// Time-to-live a budget may have.
const BUDGET_TTL: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(60);
/// The largest ratio a budget may have.
const MAX_RATIO: f32 = 1000.0;

/// What metrics call what nothing but a profile says.
pub const NAME: &str = "profile";

/// Whether the profile says what to do with requests, so that it counts rather than a policy.
pub fn decides(profile: &DestinationProfile) -> bool {
    !profile.routes.is_empty() || !profile.dst_overrides.is_empty()
}

/// The policy of a profile; `apex` is where its traffic goes unless it says otherwise.
pub fn policy(profile: &DestinationProfile, apex: BackendSpec) -> Policy {
    match routes(profile, apex) {
        Ok(policy) => policy,
        Err(invalid) => {
            tracing::warn!(%invalid, "the control plane sent a profile that cannot be followed");
            let protocol = Protocol::Invalid(invalid.to_string());
            let parent = parent(profile);
            Policy { parent, protocol }
        }
    }
}

/// Whose profile it is, if it says so.
fn parent(profile: &DestinationProfile) -> Arc<Object> {
    match &profile.parent_ref {
        Some(metadata) => object(Some(metadata.clone())),
        None => Object::default_named(NAME).into(),
    }
}

fn routes(profile: &DestinationProfile, apex: BackendSpec) -> Result<Policy, Invalid> {
    let parent = parent(profile);
    let implicit = Arc::new(Object::default_named(NAME));
    let name = RouteName::new(RouteKind::Http, &parent, implicit.clone());
    let opaque_name = RouteName::new(RouteKind::Tcp, &parent, implicit);
    let distribution = |name| distribution(name, &profile.dst_overrides, apex.clone());
    let dst = match &apex {
        BackendSpec::Balancer(balancer) => balancer.path.clone(),
        BackendSpec::Forward(addr, _) => addr.to_string().into(),
        BackendSpec::Fail(_) => profile.fully_qualified_name.as_str().into(),
    };
    let named = |labels: &HashMap<String, String>| name.of_profile(&dst, labels);
    let opaque = distribution(&opaque_name)?;
    let distribution = distribution(&name)?;
    let budget = profile.retry_budget.as_ref().and_then(limits);
    let rule = |route: &api::Route| {
        Ok(Rule {
            matches: vec![RequestMatch {
                condition: Some(condition(route.condition.as_ref())?),
                ..RequestMatch::default()
            }],
            filters: Arc::default(),
            then: Action {
                timeouts: Timeouts {
                    headers: duration(route.timeout),
                    ..Timeouts::default()
                },
                retry: budget
                    .filter(|_| route.is_retryable)
                    .map(|budget| retry(&route.response_classes, budget)),
                ..Action::to(named(&route.metrics_labels), distribution.clone())
            },
        })
    };
    // A route nobody can match is none, as stock proxies have it.
    let routes = profile.routes.iter().filter(|r| r.condition.is_some());
    let mut rules = routes.map(rule).collect::<Result<Vec<_>, Invalid>>()?;
    let rest = named(&HashMap::new());
    rules.extend(Route::any(Action::to(rest, distribution)).rules);
    let routes = vec![Route {
        hosts: Vec::new(),
        rules,
    }];
    Ok(Policy::detect(parent, routes, opaque))
}

/// Overrides that all weigh nothing are none.
fn distribution(
    route: &Arc<RouteName>,
    overrides: &[api::WeightedDst],
    apex: BackendSpec,
) -> Result<Distribution, Invalid> {
    let heavy = overrides.iter().filter(|dst| dst.weight > 0);
    let backends = heavy.map(|dst| {
        let path = path(dst.authority.trim_end_matches('.'))?;
        let spec = BackendSpec::Balancer(BalancerSpec::named(path));
        let name = route.backend(object(dst.backend_ref.clone()));
        Ok((RouteBackend::just(name, spec), dst.weight))
    });
    let backends = backends.collect::<Result<Vec<_>, Invalid>>()?;
    Ok(match backends.is_empty() {
        true => Distribution::FirstAvailable(vec![RouteBackend::just(
            route.backend(route.parent.clone()),
            apex,
        )]),
        false => Distribution::RandomAvailable(backends),
    })
}

/// A budget that makes no sense allows nothing.
fn limits(budget: &api::RetryBudget) -> Option<Limits> {
    let window = duration(budget.ttl).filter(|ttl| BUDGET_TTL.contains(ttl))?;
    if !(0.0..=MAX_RATIO).contains(&budget.retry_ratio) {
        return None;
    }
    Some(Limits {
        ratio: f64::from(budget.retry_ratio),
        reserve: f64::from(budget.min_retries_per_second) * window.as_secs_f64(),
        window,
        in_flight: false,
    })
}

/// Asks again for every answer that is a failure, as long as the budget lasts.
fn retry(classes: &[api::ResponseClass], budget: Limits) -> Retry {
    let fails = |status: &u16| {
        let mut classes = classes.iter();
        let class = classes.find(|c| c.condition.as_ref().is_some_and(|m| is_met(m, *status)));
        class.map_or(*status >= 500, |class| class.is_failure)
    };
    Retry {
        max_retries: u32::MAX,
        max_request_bytes: MAX_KEPT,
        statuses: (100..=999).filter(fails).map(|s| (s, s)).collect(),
        grpc: GRPC_FAILURES.to_vec(),
        timeout: None,
        backoff: None,
        budget: Some(budget),
    }
}

/// What a route of a profile is for.
pub fn condition(condition: Option<&api::RequestMatch>) -> Result<Condition, Invalid> {
    use request_match::Match;
    let missing = Invalid::Missing("condition of a profile's route");
    let all = |seq: &request_match::Seq| {
        let conditions = seq.matches.iter().map(|m| self::condition(Some(m)));
        conditions.collect::<Result<Vec<_>, _>>()
    };
    let found = condition.and_then(|c| c.r#match.as_ref()).ok_or(missing)?;
    Ok(match found {
        Match::All(seq) => Condition::All(all(seq)?),
        Match::Any(seq) => Condition::Any(all(seq)?),
        Match::Not(not) => Condition::Not(Box::new(self::condition(Some(not))?)),
        Match::Path(path) => Condition::Path(regex(&path.regex)?),
        Match::Method(method) => Condition::Method(
            method
                .clone()
                .try_into()
                .map_err(|_| Invalid::Bad("method", format!("{method:?}")))?,
        ),
    })
}

fn is_met(condition: &api::ResponseMatch, status: u16) -> bool {
    use response_match::Match;
    match &condition.r#match {
        Some(Match::All(seq)) => seq.matches.iter().all(|m| is_met(m, status)),
        Some(Match::Any(seq)) => seq.matches.iter().any(|m| is_met(m, status)),
        Some(Match::Not(not)) => !is_met(not, status),
        Some(Match::Status(range)) => {
            // A bound that is not given is the other one.
            let (min, max) = match (range.min, range.max) {
                (0, max) => (max, max),
                (min, 0) => (min, min),
                both => both,
            };
            (min..=max).contains(&u32::from(status))
        }
        None => false,
    }
}

#[cfg(test)]
mod tests;
