//! Whether a custom resource satisfies its schema, in the words of kube-apiserver.

use super::{field, flag, format};
use crate::status::Cause;
use parking_lot::Mutex;
use regex::Regex;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};
use std::sync::LazyLock;

/// Compiled patterns; emptied when it grows beyond what sane CRDs hold.
static PATTERNS: LazyLock<Mutex<BTreeMap<String, Option<Regex>>>> = LazyLock::new(Mutex::default);
const PATTERNS_MAX: usize = 4096;
/// A pattern may compile to that much: what bounded repetitions of Unicode classes need.
const PATTERN_SIZE: usize = 10 << 20;

/// Checks a value against a schema; `path` names it in messages.
pub(in crate::schema) fn validate(
    value: &Value,
    schema: &Value,
    path: &str,
    causes: &mut Vec<Cause>,
) {
    if value.is_null() && flag(schema, "nullable") {
        return;
    }
    if !type_fits(value, schema, path, causes) {
        return;
    }
    allowed(value, schema, path, causes);
    match value {
        Value::String(text) => text_rules(text, schema, path, causes),
        Value::Number(_) => number_rules(value, schema, path, causes),
        Value::Array(list) => list_rules(list, schema, path, causes),
        Value::Object(_) => object_rules(value, schema, path, causes),
        _ => {}
    }
    if let Some(format) = schema.get("format").and_then(Value::as_str)
        && !format::fits(format, value)
    {
        fault(
            causes,
            path,
            value,
            &format!("must be of type {format}: {}", quoted(value)),
        );
    }
    combined(value, schema, path, causes);
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn quoted(value: &Value) -> String {
    match value {
        Value::String(s) => format!("{s:?}"),
        other => format!("{:?}", other.to_string()),
    }
}

/// `spec.port in body …`, as kube-apiserver words it.
fn fault(causes: &mut Vec<Cause>, path: &str, value: &Value, detail: &str) {
    let detail = format!("{path} in body {detail}");
    causes.push(Cause::invalid(path, value, &detail));
}

fn type_fits(value: &Value, schema: &Value, path: &str, causes: &mut Vec<Cause>) -> bool {
    let found = kind_of(value);
    let wanted = if flag(schema, "x-kubernetes-int-or-string") {
        "integer,string"
    } else {
        schema
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let whole = || value.as_f64().is_some_and(|n| n.fract() == 0.0);
    let fits = match (wanted, found) {
        ("", _) => true,
        ("number", "integer") => true,
        ("integer", "number") => whole(),
        ("integer,string", found) => matches!(found, "integer" | "string"),
        (wanted, found) => wanted == found,
    };
    if !fits {
        let detail = format!("{path} in body must be of type {wanted}: {found:?}");
        causes.push(Cause::type_invalid(path, &json!(found), &detail));
    }
    fits
}

fn allowed(value: &Value, schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    let Some(allowed) = schema.get("enum").and_then(Value::as_array) else {
        return;
    };
    if allowed.contains(value) {
        return;
    }
    let texts: Vec<String> = allowed
        .iter()
        .map(|a| a.as_str().map_or_else(|| a.to_string(), str::to_owned))
        .collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    causes.push(Cause::unsupported(path, value, &texts));
}

fn limit(schema: &Value, key: &str) -> Option<usize> {
    schema.get(key)?.as_u64()?.try_into().ok()
}

fn text_rules(text: &str, schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    let value = json!(text);
    let length = text.chars().count();
    if let Some(max) = limit(schema, "maxLength").filter(|max| length > *max) {
        let message = format!("Too long: may not be more than {max} bytes");
        causes.push(Cause {
            reason: "FieldValueTooLong",
            message,
            field: path.to_owned(),
        });
    }
    if let Some(min) = limit(schema, "minLength").filter(|min| length < *min) {
        fault(
            causes,
            path,
            &value,
            &format!("should be at least {min} chars long"),
        );
    }
    if let Some(pattern) = schema.get("pattern").and_then(Value::as_str)
        && !matches(pattern, text)
    {
        fault(causes, path, &value, &format!("should match '{pattern}'"));
    }
}

/// Patterns that do not compile were refused with their CRD, so nothing is lost by letting pass.
fn matches(pattern: &str, text: &str) -> bool {
    let mut patterns = PATTERNS.lock();
    if patterns.len() > PATTERNS_MAX {
        patterns.clear();
    }
    let compiled = patterns
        .entry(pattern.to_owned())
        .or_insert_with(|| compile(pattern).ok());
    compiled.as_ref().is_none_or(|p| p.is_match(text))
}

fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    regex::RegexBuilder::new(pattern)
        .size_limit(PATTERN_SIZE)
        .build()
}

/// Why a pattern cannot be used.
pub(in crate::schema) fn pattern_fault(pattern: &str) -> Option<String> {
    compile(pattern).err().map(|e| e.to_string())
}

fn number_rules(value: &Value, schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    let Some(number) = value.as_f64() else { return };
    let bound = |key: &str| schema.get(key).and_then(|b| Some((b.as_f64()?, b)));
    if let Some((max, shown)) = bound("maximum") {
        let exclusive = flag(schema, "exclusiveMaximum");
        if number > max || (exclusive && number >= max) {
            let or = if exclusive { "" } else { " or equal to" };
            fault(
                causes,
                path,
                value,
                &format!("should be less than{or} {shown}"),
            );
        }
    }
    if let Some((min, shown)) = bound("minimum") {
        let exclusive = flag(schema, "exclusiveMinimum");
        if number < min || (exclusive && number <= min) {
            let or = if exclusive { "" } else { " or equal to" };
            fault(
                causes,
                path,
                value,
                &format!("should be greater than{or} {shown}"),
            );
        }
    }
    if let Some((factor, shown)) = bound("multipleOf")
        && factor > 0.0
        && (number / factor).fract() != 0.0
    {
        fault(
            causes,
            path,
            value,
            &format!("should be a multiple of {shown}"),
        );
    }
}

fn list_rules(list: &[Value], schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    let count = list.len();
    if let Some(max) = limit(schema, "maxItems").filter(|max| count > *max) {
        let message = format!("Too many: {count}: must have at most {max} items");
        causes.push(Cause {
            reason: "FieldValueTooMany",
            message,
            field: path.to_owned(),
        });
    }
    if let Some(min) = limit(schema, "minItems").filter(|min| count < *min) {
        fault(
            causes,
            path,
            &json!(count),
            &format!("should have at least {min} items"),
        );
    }
    duplicates(list, schema, path, causes);
    if let Some(items) = schema.get("items") {
        for (i, item) in list.iter().enumerate() {
            validate(item, items, &format!("{path}[{i}]"), causes);
        }
    }
}

/// Lists that are sets or maps hold each item, or key, once.
fn duplicates(list: &[Value], schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    let keys: Vec<&str> = match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
        Some("set") => Vec::new(),
        Some("map") => {
            let keys = schema
                .get("x-kubernetes-list-map-keys")
                .and_then(Value::as_array);
            keys.into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect()
        }
        _ => return,
    };
    let mut seen = HashSet::new();
    for (i, item) in list.iter().enumerate() {
        let identity = if keys.is_empty() {
            item.clone()
        } else {
            let key = |k: &&str| Some(((*k).to_owned(), item.get(*k)?.clone()));
            Value::Object(keys.iter().filter_map(key).collect())
        };
        if !seen.insert(identity.to_string()) {
            causes.push(Cause::duplicate(format!("{path}[{i}]"), &identity));
        }
    }
}

fn object_rules(value: &Value, schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    let Some(map) = value.as_object() else { return };
    let below = |key: &str| {
        if path.is_empty() {
            key.to_owned()
        } else {
            format!("{path}.{key}")
        }
    };
    let required = schema.get("required").and_then(Value::as_array);
    for key in required.into_iter().flatten().filter_map(Value::as_str) {
        if !map.contains_key(key) {
            causes.push(Cause::required(below(key), ""));
        }
    }
    if flag(schema, "x-kubernetes-embedded-resource") {
        for key in ["apiVersion", "kind"] {
            if map
                .get(key)
                .and_then(Value::as_str)
                .is_none_or(str::is_empty)
            {
                causes.push(Cause::required(below(key), "must not be empty"));
            }
        }
    }
    let count = map.len();
    if let Some(max) = limit(schema, "maxProperties").filter(|max| count > *max) {
        let message = format!("Too many: {count}: must have at most {max} items");
        causes.push(Cause {
            reason: "FieldValueTooMany",
            message,
            field: path.to_owned(),
        });
    }
    if let Some(min) = limit(schema, "minProperties").filter(|min| count < *min) {
        fault(
            causes,
            path,
            &json!(count),
            &format!("should have at least {min} properties"),
        );
    }
    for (key, inner) in map {
        if let Some(schema) = field(schema, key) {
            validate(inner, schema, &below(key), causes);
        }
    }
}

fn combined(value: &Value, schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    let branches = |key: &str| schema.get(key).and_then(Value::as_array);
    let passes = |schema: &Value| {
        let mut found = Vec::new();
        validate(value, schema, path, &mut found);
        found.is_empty()
    };
    if let Some(all) = branches("allOf") {
        for schema in all {
            validate(value, schema, path, causes);
        }
    }
    if let Some(any) = branches("anyOf")
        && !any.iter().any(passes)
    {
        fault(
            causes,
            path,
            value,
            "must validate at least one schema (anyOf)",
        );
    }
    if let Some(one) = branches("oneOf") {
        let valid = one.iter().filter(|s| passes(s)).count();
        if valid != 1 {
            let found = if valid == 0 {
                "none valid".to_owned()
            } else {
                format!("{valid} valid")
            };
            let detail = format!("must validate one and only one schema (oneOf). Found {found}");
            fault(causes, path, value, &detail);
        }
    }
    if let Some(not) = schema.get("not")
        && passes(not)
    {
        fault(causes, path, value, "must not validate the schema (not)");
    }
}
