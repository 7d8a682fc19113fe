//! Leases, Events and Nodes: kinds with little to check.

use super::json::{at, default, namespace, text};
use crate::status::Cause;
use serde_json::{Value, json};

/// Whether a lease is well formed.
pub(super) fn validate_lease(obj: &Value, causes: &mut Vec<Cause>) {
    for field in ["leaseDurationSeconds", "leaseTransitions"] {
        let value = at(obj, &["spec", field]);
        let (low, detail) = match field {
            "leaseTransitions" => (0, "must be greater than or equal to 0"),
            _ => (1, "must be greater than 0"),
        };
        if value.as_i64().is_some_and(|n| n < low) {
            causes.push(Cause::invalid(format!("spec.{field}"), value, detail));
        }
    }
}

/// Fills in an event of either API.
pub(super) fn complete_event(obj: &mut Value) {
    default(obj, "type", "Normal");
}

/// An event lives in the namespace of what it is about; events about cluster-wide objects in
/// `default`.
pub(super) fn validate_event(obj: &Value, causes: &mut Vec<Cause>) {
    let ns = namespace(obj);
    for field in ["involvedObject", "regarding"] {
        let about = at(obj, &[field]);
        if about.is_null() {
            continue;
        }
        let theirs = text(about, &["namespace"]);
        let fits = if theirs.is_empty() {
            matches!(ns, "default" | "kube-system")
        } else {
            theirs == ns
        };
        if !fits {
            let field = format!("{field}.namespace");
            causes.push(Cause::invalid(
                field,
                &json!(theirs),
                "does not match event.namespace",
            ));
        }
    }
}

/// A node's identity on its provider stays once it is known.
pub(super) fn validate_node_update(old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    for field in ["podCIDR", "providerID"] {
        let was = text(old, &["spec", field]);
        let is = at(new, &["spec", field]);
        if !was.is_empty() && is != was {
            let detail = "node updates may not change it once it is set";
            causes.push(Cause::forbidden(format!("spec.{field}"), detail));
        }
    }
}
