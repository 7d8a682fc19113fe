//! Deployments and ReplicaSets.

use super::json::{at, default, map_in};
use super::meta::{annotations, immutable, labels};
use super::pod;
use super::selector;
use crate::status::Cause;
use serde_json::{Value, json};

/// Fills in a Deployment.
pub(super) fn complete_deployment(obj: &mut Value) {
    complete_replicaset(obj);
    let Some(spec) = obj.get_mut("spec") else {
        return;
    };
    default(spec, "revisionHistoryLimit", 10);
    default(spec, "progressDeadlineSeconds", 600);
    if map_in(spec, "strategy").is_none() {
        return;
    }
    let strategy = &mut spec["strategy"];
    default(strategy, "type", "RollingUpdate");
    if strategy["type"] == "RollingUpdate" && map_in(strategy, "rollingUpdate").is_some() {
        let rolling = &mut strategy["rollingUpdate"];
        default(rolling, "maxUnavailable", "25%");
        default(rolling, "maxSurge", "25%");
    }
}

/// Fills in a ReplicaSet.
pub(super) fn complete_replicaset(obj: &mut Value) {
    map_in(obj, "spec");
    let Some(spec) = obj.get_mut("spec") else {
        return;
    };
    default(spec, "replicas", 1);
    if map_in(spec, "template").is_some() {
        let template = &mut spec["template"];
        map_in(template, "metadata");
        if map_in(template, "spec").is_some() {
            pod::complete_spec(&mut template["spec"]);
        }
    }
}

/// Whether a Deployment or ReplicaSet makes sense.
pub(super) fn validate(obj: &Value, causes: &mut Vec<Cause>) {
    let spec = at(obj, &["spec"]);
    for field in [
        "replicas",
        "minReadySeconds",
        "revisionHistoryLimit",
        "progressDeadlineSeconds",
    ] {
        let value = at(spec, &[field]);
        if value.as_i64().is_some_and(|n| n < 0) {
            let detail = "must be greater than or equal to 0";
            causes.push(Cause::invalid(format!("spec.{field}"), value, detail));
        }
    }
    let (deadline, least) = (
        at(spec, &["progressDeadlineSeconds"]),
        at(spec, &["minReadySeconds"]),
    );
    if deadline
        .as_i64()
        .is_some_and(|n| n >= 0 && n <= least.as_i64().unwrap_or(0))
    {
        let detail = "must be greater than minReadySeconds";
        causes.push(Cause::invalid(
            "spec.progressDeadlineSeconds",
            deadline,
            detail,
        ));
    }
    if !at(spec, &["template", "spec", "activeDeadlineSeconds"]).is_null() {
        let detail = "activeDeadlineSeconds in ReplicaSet is not Supported";
        causes.push(Cause::forbidden(
            "spec.template.spec.activeDeadlineSeconds",
            detail,
        ));
    }
    validate_selector(spec, causes);
    let template = at(spec, &["template"]);
    labels(
        at(template, &["metadata", "labels"]),
        "spec.template.labels",
        causes,
    );
    annotations(
        at(template, &["metadata", "annotations"]),
        "spec.template.annotations",
        causes,
    );
    pod::validate_spec(at(template, &["spec"]), "spec.template.spec", true, causes);
    if obj["kind"] == "Deployment" {
        validate_strategy(at(spec, &["strategy"]), causes);
    }
}

fn validate_selector(spec: &Value, causes: &mut Vec<Cause>) {
    let wanted = at(spec, &["selector"]);
    if wanted.is_null() {
        causes.push(Cause::required("spec.selector", ""));
        return;
    }
    let before = causes.len();
    selector::validate(wanted, "spec.selector", causes);
    if selector::is_empty(wanted) {
        let detail = "empty selector is invalid for deployment";
        causes.push(Cause::invalid("spec.selector", wanted, detail));
    }
    let own = at(spec, &["template", "metadata", "labels"]);
    if causes.len() == before && !selector::matches(wanted, own) {
        let shown = if own.is_null() {
            json!({})
        } else {
            own.clone()
        };
        let detail = "`selector` does not match template `labels`";
        causes.push(Cause::invalid(
            "spec.template.metadata.labels",
            &shown,
            detail,
        ));
    }
}

fn validate_strategy(strategy: &Value, causes: &mut Vec<Cause>) {
    let rolling = at(strategy, &["rollingUpdate"]);
    match strategy["type"].as_str() {
        Some("Recreate") => {
            if !rolling.is_null() {
                let detail = "may not be specified when strategy `type` is 'Recreate'";
                causes.push(Cause::forbidden("spec.strategy.rollingUpdate", detail));
            }
        }
        Some("RollingUpdate") => {
            for field in ["maxUnavailable", "maxSurge"] {
                amount(rolling, field, causes);
            }
            let zero = |f: &str| matches!(at(rolling, &[f]), v if *v == 0 || *v == "0%");
            if zero("maxUnavailable") && zero("maxSurge") {
                let field = "spec.strategy.rollingUpdate.maxUnavailable";
                let detail = "may not be 0 when `maxSurge` is 0";
                causes.push(Cause::invalid(field, &rolling["maxUnavailable"], detail));
            }
        }
        _ => {
            let allowed = &["Recreate", "RollingUpdate"];
            let value = at(strategy, &["type"]);
            causes.push(Cause::unsupported("spec.strategy.type", value, allowed));
        }
    }
}

fn amount(rolling: &Value, field: &str, causes: &mut Vec<Cause>) {
    let value = at(rolling, &[field]);
    let fits = match value {
        Value::Number(n) => n.as_i64().is_some_and(|n| n >= 0),
        Value::String(s) => s
            .strip_suffix('%')
            .is_some_and(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit())),
        _ => true,
    };
    let percent = value
        .as_str()
        .and_then(|s| s.strip_suffix('%')?.parse::<u32>().ok());
    if field == "maxUnavailable" && percent.is_some_and(|p| p > 100) {
        let field = format!("spec.strategy.rollingUpdate.{field}");
        causes.push(Cause::invalid(
            field,
            value,
            "must not be greater than 100%",
        ));
    }
    if !fits {
        let field = format!("spec.strategy.rollingUpdate.{field}");
        let detail = "must be an integer of at least 0 or a percentage (e.g. '5%')";
        causes.push(Cause::invalid(field, value, detail));
    }
}

/// The selector stays.
pub(super) fn validate_update(old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    if at(old, &["spec", "selector"]) != at(new, &["spec", "selector"]) {
        immutable(causes, "spec.selector", at(new, &["spec", "selector"]));
    }
}
