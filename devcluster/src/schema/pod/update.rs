//! What of a pod may change after it was made. Pure.

use crate::schema::json::{at, items};
use crate::status::Cause;
use serde_json::Value;

const MUTABLE: &str = "pod updates may not change fields other than \
    `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
    `spec.tolerations` (only additions to existing tolerations),\
    `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Refuses changes of a pod's spec other than images, deadlines and more tolerations; nodes
/// are given by the `binding` subresource.
pub(in crate::schema) fn validate_update(old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    let (was, is) = (at(old, &["spec"]), at(new, &["spec"]));
    if comparable(was) != comparable(is) {
        causes.push(Cause::forbidden("spec", MUTABLE));
        return;
    }
    let kept = items(is, &["tolerations"]);
    if items(was, &["tolerations"])
        .iter()
        .any(|t| !kept.contains(t))
    {
        let detail = "existing toleration can not be modified except its tolerationSeconds";
        causes.push(Cause::forbidden("spec.tolerations", detail));
    }
}

/// The spec without what may change.
fn comparable(spec: &Value) -> Value {
    let mut spec = spec.clone();
    for list in ["containers", "initContainers"] {
        for container in super::items_mut(&mut spec, list) {
            super::super::json::remove(container, "image");
        }
    }
    for field in ["activeDeadlineSeconds", "tolerations"] {
        super::super::json::remove(&mut spec, field);
    }
    spec
}
