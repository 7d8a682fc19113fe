//! Fields a custom resource has and its schema does not.

use super::{field, flag};
use serde_json::Value;

/// Drops unknown fields and notes their paths. `root` is a whole object, whose `apiVersion`,
/// `kind` and `metadata` belong to Kubernetes and not to the schema.
pub(in crate::schema) fn prune(
    value: &mut Value,
    schema: &Value,
    path: &str,
    root: bool,
    unknown: &mut Vec<String>,
) {
    match value {
        Value::Object(map) => {
            let object = root || flag(schema, "x-kubernetes-embedded-resource");
            let keep_all = flag(schema, "x-kubernetes-preserve-unknown-fields")
                || schema
                    .get("additionalProperties")
                    .is_some_and(|a| *a == true);
            map.retain(|key, inner| {
                if object && matches!(key.as_str(), "apiVersion" | "kind" | "metadata") {
                    return true;
                }
                let here = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                if let Some(schema) = field(schema, key) {
                    prune(inner, schema, &here, false, unknown);
                    return true;
                }
                if !keep_all {
                    unknown.push(here);
                }
                keep_all
            });
        }
        Value::Array(list) => {
            if let Some(items) = schema.get("items") {
                for (i, inner) in list.iter_mut().enumerate() {
                    prune(inner, items, &format!("{path}[{i}]"), false, unknown);
                }
            }
        }
        _ => {}
    }
}
