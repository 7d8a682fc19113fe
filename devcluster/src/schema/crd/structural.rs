//! Whether a schema is structural: only then can objects be pruned and defaulted by it.

use crate::schema::custom;
use crate::schema::json::{at, items, text};
use crate::status::Cause;
use serde_json::{Value, json};

const TYPES: &[&str] = &["array", "boolean", "integer", "number", "object", "string"];

/// Checks the schema of a version.
pub(super) fn validate_root(schema: &Value, field: &str, causes: &mut Vec<Cause>) {
    let kind = text(schema, &["type"]);
    if kind.is_empty() {
        let detail = "must not be empty at the root";
        causes.push(Cause::required(format!("{field}.type"), detail));
        return;
    }
    if kind != "object" {
        let detail = "must be object at the root";
        causes.push(Cause::invalid(
            format!("{field}.type"),
            &json!(kind),
            detail,
        ));
        return;
    }
    if !at(schema, &["default"]).is_null() {
        causes.push(Cause::forbidden(
            format!("{field}.default"),
            "must not be set at the root",
        ));
    }
    node(schema, field, causes);
}

fn node(schema: &Value, field: &str, causes: &mut Vec<Cause>) {
    forbidden(schema, field, causes);
    if let Some(pattern) = schema.get("pattern").and_then(Value::as_str)
        && let Some(fault) = custom::pattern_fault(pattern)
    {
        let detail = format!("must be a valid regular expression, but isn't: {fault}");
        causes.push(Cause::invalid(
            format!("{field}.pattern"),
            &json!(pattern),
            &detail,
        ));
    }
    if let Some(default) = schema.get("default").filter(|d| !d.is_null()) {
        let mut faults = Vec::new();
        let mut pruned = default.clone();
        custom::defaults(&mut pruned, schema);
        custom::validate(&pruned, schema, "", &mut faults);
        for fault in faults {
            causes.push(Cause {
                field: format!("{field}.default"),
                ..fault
            });
        }
    }
    children(schema, field, causes);
}

/// The kind of every node must be said; what is only checked (`oneOf` and the like) says nothing
/// about it.
fn kind(schema: &Value, field: &str, what: &str, causes: &mut Vec<Cause>) {
    let kind = text(schema, &["type"]);
    let flag = |key: &str| schema.get(key).is_some_and(|v| *v == true);
    let free = flag("x-kubernetes-int-or-string") || flag("x-kubernetes-preserve-unknown-fields");
    if kind.is_empty() && !free {
        let detail = format!("must not be empty for specified {what}");
        causes.push(Cause::required(format!("{field}.type"), &detail));
    } else if !kind.is_empty() && !TYPES.contains(&kind) {
        causes.push(Cause::unsupported(
            format!("{field}.type"),
            &json!(kind),
            TYPES,
        ));
    }
}

fn children(schema: &Value, field: &str, causes: &mut Vec<Cause>) {
    let properties = at(schema, &["properties"]).as_object();
    for (key, inner) in properties.into_iter().flatten() {
        let field = format!("{field}.properties[{key}]");
        kind(inner, &field, "object fields", causes);
        node(inner, &field, causes);
    }
    let others = at(schema, &["additionalProperties"]);
    if others.is_object() {
        let field = format!("{field}.additionalProperties");
        if properties.is_some_and(|p| !p.is_empty()) {
            let detail = "additionalProperties and properties are mutual exclusive";
            causes.push(Cause::forbidden(field.clone(), detail));
        }
        kind(others, &field, "object fields", causes);
        node(others, &field, causes);
    }
    let inner = at(schema, &["items"]);
    if inner.is_object() {
        let field = format!("{field}.items");
        kind(inner, &field, "array items", causes);
        node(inner, &field, causes);
    } else if text(schema, &["type"]) == "array" {
        causes.push(Cause::required(
            format!("{field}.items"),
            "must be specified",
        ));
    }
    if text(schema, &["x-kubernetes-list-type"]) == "map"
        && items(schema, &["x-kubernetes-list-map-keys"]).is_empty()
    {
        let detail = "must not be empty if x-kubernetes-list-type is map";
        causes.push(Cause::required(
            format!("{field}.x-kubernetes-list-map-keys"),
            detail,
        ));
    }
}

fn forbidden(schema: &Value, field: &str, causes: &mut Vec<Cause>) {
    for key in [
        "$ref",
        "definitions",
        "dependencies",
        "id",
        "patternProperties",
        "additionalItems",
    ] {
        if !at(schema, &[key]).is_null() {
            causes.push(Cause::forbidden(
                format!("{field}.{key}"),
                &format!("{key} is not supported"),
            ));
        }
    }
    if schema.get("uniqueItems").is_some_and(|u| *u == true) {
        let detail = "uniqueItems cannot be set to true since the runtime complexity becomes \
                      quadratic";
        causes.push(Cause::forbidden(format!("{field}.uniqueItems"), detail));
    }
}
