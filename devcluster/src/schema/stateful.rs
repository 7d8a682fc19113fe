//! StatefulSets: what users leave out, and what is refused.

use super::json::{at, default, map_in};
use super::meta::labels;
use super::pod;
use super::selector;
use crate::status::Cause;
use serde_json::{Value, json};

/// What of a StatefulSet's spec may change.
const MUTABLE: &[&str] = &[
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

/// Fills in a StatefulSet.
pub(super) fn complete(obj: &mut Value) {
    super::workload::complete_replicaset(obj);
    let Some(spec) = obj.get_mut("spec") else {
        return;
    };
    default(spec, "podManagementPolicy", "OrderedReady");
    default(spec, "revisionHistoryLimit", 10);
    let retain = json!({"whenDeleted": "Retain", "whenScaled": "Retain"});
    default(spec, "persistentVolumeClaimRetentionPolicy", retain);
    if map_in(spec, "updateStrategy").is_none() {
        return;
    }
    let strategy = &mut spec["updateStrategy"];
    default(strategy, "type", "RollingUpdate");
    if strategy["type"] == "RollingUpdate" && map_in(strategy, "rollingUpdate").is_some() {
        default(&mut strategy["rollingUpdate"], "partition", 0);
    }
}

/// Whether a StatefulSet makes sense.
pub(super) fn validate(obj: &Value, causes: &mut Vec<Cause>) {
    let spec = at(obj, &["spec"]);
    let policy = at(spec, &["podManagementPolicy"]);
    if policy != "OrderedReady" && policy != "Parallel" {
        let detail = "must be 'OrderedReady' or 'Parallel'";
        causes.push(Cause::invalid("spec.podManagementPolicy", policy, detail));
    }
    validate_strategy(at(spec, &["updateStrategy"]), causes);
    for field in ["replicas", "minReadySeconds"] {
        let value = at(spec, &[field]);
        if value.as_i64().is_some_and(|n| n < 0) {
            let detail = "must be greater than or equal to 0";
            causes.push(Cause::invalid(format!("spec.{field}"), value, detail));
        }
    }
    let (wanted, template) = (at(spec, &["selector"]), at(spec, &["template"]));
    let own = at(template, &["metadata", "labels"]);
    if wanted.is_null() {
        causes.push(Cause::required("spec.selector", ""));
    } else {
        let before = causes.len();
        selector::validate(wanted, "spec.selector", causes);
        if selector::is_empty(wanted) {
            let detail = "empty selector is invalid for statefulset";
            causes.push(Cause::invalid("spec.selector", wanted, detail));
        } else if causes.len() == before && !selector::matches(wanted, own) {
            let detail = "`selector` does not match template `labels`";
            causes.push(Cause::invalid("spec.template.metadata.labels", own, detail));
        }
    }
    labels(own, "spec.template.labels", causes);
    pod::validate_spec(at(template, &["spec"]), "spec.template.spec", true, causes);
}

fn validate_strategy(strategy: &Value, causes: &mut Vec<Cause>) {
    let rolling = at(strategy, &["rollingUpdate"]);
    match strategy["type"].as_str() {
        Some("OnDelete") => {
            if !rolling.is_null() {
                let field = "spec.updateStrategy.rollingUpdate";
                let detail = "only allowed for updateStrategy 'RollingUpdate'";
                causes.push(Cause::invalid(field, rolling, detail));
            }
        }
        Some("RollingUpdate") => {
            let partition = at(rolling, &["partition"]);
            if partition.as_i64().is_some_and(|n| n < 0) {
                let field = "spec.updateStrategy.rollingUpdate.partition";
                let detail = "must be greater than or equal to 0";
                causes.push(Cause::invalid(field, partition, detail));
            }
        }
        _ => {
            let detail = "must be 'RollingUpdate' or 'OnDelete'";
            let value = at(strategy, &["type"]);
            causes.push(Cause::invalid("spec.updateStrategy", value, detail));
        }
    }
}

/// What makes its pods what they are stays.
pub(super) fn validate_update(old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    let fixed = |obj: &Value| {
        let mut spec = at(obj, &["spec"]).clone();
        if let Some(map) = spec.as_object_mut() {
            map.retain(|key, _| !MUTABLE.contains(&key.as_str()));
        }
        spec
    };
    if fixed(old) != fixed(new) {
        let detail = "updates to statefulset spec for fields other than 'replicas', 'ordinals', \
                      'template', 'updateStrategy', 'revisionHistoryLimit', \
                      'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
        causes.push(Cause::forbidden("spec", detail));
    }
}
