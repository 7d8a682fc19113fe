//! HTTPRoutes and GRPCRoutes that are attached to something of the mesh; others are not ours.

use super::Findings;
use serde_json::Value;

/// Filters of Gateway API whose meaning a sidecar cannot give.
const UNSUPPORTED: &[&str] = &["RequestMirror", "URLRewrite", "ExtensionRef"];

pub(super) fn check(object: &Value, found: &mut Findings) {
    let spec = &object["spec"];
    let parents = spec["parentRefs"].as_array();
    let ours = |parent: &&Value| matches!(parent["kind"].as_str(), Some("Service" | "Server"));
    let ours: Vec<_> = parents.into_iter().flatten().filter(ours).collect();
    if ours.is_empty() {
        return;
    }
    for parent in &ours {
        if parent["kind"] == "Service" && !is_core(&parent["group"]) {
            found.error(
                "spec.parentRefs",
                "a Service is of the group \"core\" (or \"\")",
            );
        }
        if parent["kind"] == "Server" && parent["group"] != "policy.linkerd.io" {
            found.error(
                "spec.parentRefs",
                "a Server is of the group \"policy.linkerd.io\"",
            );
        }
    }
    let inbound = ours.iter().any(|parent| parent["kind"] == "Server");
    for rule in spec["rules"].as_array().into_iter().flatten() {
        check_rule(rule, inbound, found);
    }
}

fn check_rule(rule: &Value, inbound: bool, found: &mut Findings) {
    for filter in rule["filters"].as_array().into_iter().flatten() {
        let kind = filter["type"].as_str().unwrap_or_default();
        if UNSUPPORTED.contains(&kind) {
            let field = "spec.rules.filters";
            found.error(field, format!("{kind} is not supported by sidecars"));
        }
    }
    let backends = rule["backendRefs"].as_array();
    let weights = backends.into_iter().flatten().map(|backend| {
        let weight = &backend["weight"];
        weight.as_u64().unwrap_or(u64::from(weight.is_null()))
    });
    let weights: Vec<_> = weights.collect();
    if !weights.is_empty() && weights.iter().all(|weight| *weight == 0) {
        found.warn(
            "spec.rules.backendRefs",
            "every weight is 0, so requests of this rule are refused",
        );
    }
    if inbound && !weights.is_empty() {
        found.warn(
            "spec.rules.backendRefs",
            "a route of a Server only admits requests; its backends are not used",
        );
    }
    for matched in rule["matches"].as_array().into_iter().flatten() {
        check_match(matched, found);
    }
    for key in ["request", "backendRequest"] {
        let timeout = &rule["timeouts"][key];
        if let Some(text) = timeout.as_str()
            && !is_duration(text)
        {
            let field = format!("spec.rules.timeouts.{key}");
            found.error(
                &field,
                format!("{text:?} is no duration such as 500ms or 10s"),
            );
        }
    }
}

fn check_match(matched: &Value, found: &mut Findings) {
    let path = &matched["path"];
    let value = path["value"].as_str().unwrap_or("/");
    let kind = path["type"].as_str().unwrap_or("PathPrefix");
    if kind != "RegularExpression" && !value.starts_with('/') {
        found.error(
            "spec.rules.matches.path",
            format!("{value:?} does not begin with a slash"),
        );
    }
}

fn is_core(group: &Value) -> bool {
    matches!(group.as_str(), Some("" | "core"))
}

/// Gateway API's durations: whole numbers of h, m, s and ms, one after the other.
fn is_duration(text: &str) -> bool {
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.chars().take_while(char::is_ascii_digit).count();
        if digits == 0 || digits > 5 {
            return false;
        }
        rest = &rest[digits..];
        let unit = ["ms", "h", "m", "s"]
            .iter()
            .find(|unit| rest.starts_with(*unit));
        match unit {
            Some(unit) => rest = &rest[unit.len()..],
            None => return false,
        }
    }
    !text.is_empty()
}
