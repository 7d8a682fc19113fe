//! ServiceProfiles.

use super::Findings;
use serde_json::Value;

pub(super) fn check(object: &Value, found: &mut Findings) {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    // A profile is found by the name of the service it is for, and by nothing else.
    if !name.contains('.') {
        found.error(
            "metadata.name",
            format!(
                "{name:?} is not the full name of a Service, such as web.shop.svc.cluster.local"
            ),
        );
    }
    let spec = &object["spec"];
    for route in spec["routes"].as_array().into_iter().flatten() {
        check_route(route, found);
    }
    let budget = &spec["retryBudget"];
    if budget.is_object() {
        let ratio = budget["retryRatio"].as_f64();
        if ratio.is_none_or(|ratio| !(0.0..=1000.0).contains(&ratio)) {
            found.error(
                "spec.retryBudget.retryRatio",
                "a number from 0 on is needed",
            );
        }
        if budget["ttl"]
            .as_str()
            .and_then(seconds)
            .is_none_or(|ttl| !(1.0..=60.0).contains(&ttl))
        {
            found.error(
                "spec.retryBudget.ttl",
                "a duration from 1s to 60s is needed",
            );
        }
    }
    let overrides: Vec<_> = spec["dstOverrides"]
        .as_array()
        .into_iter()
        .flatten()
        .collect();
    for one in &overrides {
        if one["authority"].as_str().is_none_or(str::is_empty) {
            found.error("spec.dstOverrides.authority", "a name is needed");
        }
    }
}

fn check_route(route: &Value, found: &mut Findings) {
    let name = route["name"].as_str().unwrap_or_default();
    if name.is_empty() {
        found.error("spec.routes.name", "every route needs a name");
    }
    if !route["condition"].is_object() {
        let problem = format!("the route {name:?} has no condition, so it would match nothing");
        found.error("spec.routes.condition", problem);
    }
    if let Some(timeout) = route["timeout"].as_str()
        && seconds(timeout).is_none()
    {
        found.error("spec.routes.timeout", format!("{timeout:?} is no duration"));
    }
    for class in route["responseClasses"].as_array().into_iter().flatten() {
        let status = &class["condition"]["status"];
        let (min, max) = (status["min"].as_u64(), status["max"].as_u64());
        let bound = |value: Option<u64>| value.is_none_or(|value| (100..=599).contains(&value));
        let order = min.zip(max).is_none_or(|(min, max)| min <= max);
        if !(bound(min) && bound(max) && order) {
            found.error(
                "spec.routes.responseClasses",
                "status codes go from 100 to 599, min before max",
            );
        }
    }
}

fn seconds(text: &str) -> Option<f64> {
    let value: mesh_api::link::Period = serde_json::from_value(text.into()).ok()?;
    value.duration().map(|duration| duration.as_secs_f64())
}
