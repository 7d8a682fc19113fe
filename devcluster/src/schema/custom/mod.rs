//! Custom resources by their structural schema: pruning, defaulting and validation. Pure.
//!
//! Rules in CEL (`x-kubernetes-validations`) are accepted in CRDs and not evaluated; that is the
//! one thing kube-apiserver would refuse and this server lets pass.

mod default;
mod format;
mod prune;
mod validate;

#[cfg(test)]
mod tests;

pub(super) use default::defaults;
pub(super) use prune::prune;
pub(super) use validate::{pattern_fault, validate};

use serde_json::Value;

/// Whether a schema carries a `true` under `key`.
fn flag(schema: &Value, key: &str) -> bool {
    schema.get(key).and_then(Value::as_bool) == Some(true)
}

/// The schema of a field: its own, or the one for all others.
fn field<'a>(schema: &'a Value, key: &str) -> Option<&'a Value> {
    let own = schema.get("properties").and_then(|p| p.get(key));
    own.or_else(|| schema.get("additionalProperties").filter(|a| a.is_object()))
}
