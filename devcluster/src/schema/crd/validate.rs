//! Whether a CRD can be served.

use super::structural;
use crate::schema::json::{at, items, name, text};
use crate::schema::meta::immutable;
use crate::schema::names::{self, check};
use crate::status::Cause;
use serde_json::{Value, json};
use std::collections::HashSet;

/// Checks everything about a CRD but its status.
pub(in crate::schema) fn validate(obj: &Value, causes: &mut Vec<Cause>) {
    let spec = at(obj, &["spec"]);
    let group = text(spec, &["group"]);
    let plural = text(spec, &["names", "plural"]);
    if group.is_empty() {
        causes.push(Cause::required("spec.group", ""));
    } else {
        check(causes, "spec.group", group, names::subdomain);
        if !group.contains('.') {
            let detail = "should be a domain with at least one dot";
            causes.push(Cause::invalid("spec.group", &json!(group), detail));
        }
    }
    let expected = format!("{plural}.{group}");
    if name(obj) != expected {
        let detail = "must be spec.names.plural+\".\"+spec.group";
        causes.push(Cause::invalid("metadata.name", &json!(name(obj)), detail));
    }
    let scope = text(spec, &["scope"]);
    let scopes = &["Cluster", "Namespaced"];
    if scope.is_empty() {
        causes.push(Cause::required("spec.scope", ""));
    } else if !scopes.contains(&scope) {
        causes.push(Cause::unsupported("spec.scope", &json!(scope), scopes));
    }
    validate_names(at(spec, &["names"]), causes);
    validate_versions(items(spec, &["versions"]), causes);
    validate_conversion(at(spec, &["conversion"]), causes);
    if spec["preserveUnknownFields"] == true {
        let detail = "must be false in order to use defaults in the schema";
        causes.push(Cause::invalid(
            "spec.preserveUnknownFields",
            &json!(true),
            detail,
        ));
    }
}

fn validate_conversion(conversion: &Value, causes: &mut Vec<Cause>) {
    // Webhooks are not called here; a CRD that needs one would serve objects in the wrong form.
    let strategy = text(conversion, &["strategy"]);
    if strategy != "None" {
        causes.push(Cause::unsupported(
            "spec.conversion.strategy",
            &json!(strategy),
            &["None"],
        ));
    }
}

fn validate_names(own: &Value, causes: &mut Vec<Cause>) {
    for field in ["plural", "singular", "kind", "listKind"] {
        let value = text(own, &[field]);
        let field = format!("spec.names.{field}");
        if value.is_empty() {
            causes.push(Cause::required(field, ""));
        } else {
            check(causes, &field, &value.to_lowercase(), names::label_1035);
        }
    }
    for (list, values) in [("shortNames", "shortNames"), ("categories", "categories")] {
        for (i, value) in items(own, &[values]).iter().enumerate() {
            let field = format!("spec.names.{list}[{i}]");
            check(
                causes,
                &field,
                value.as_str().unwrap_or_default(),
                names::label_1035,
            );
        }
    }
}

fn validate_versions(versions: &[Value], causes: &mut Vec<Cause>) {
    if versions.is_empty() {
        causes.push(Cause::required(
            "spec.versions",
            "must have exactly one version marked as storage version",
        ));
        return;
    }
    let mut seen = HashSet::new();
    for (i, version) in versions.iter().enumerate() {
        let field = format!("spec.versions[{i}]");
        let name = text(version, &["name"]);
        check(causes, &format!("{field}.name"), name, names::label_1035);
        if !seen.insert(name) {
            causes.push(Cause::duplicate(format!("{field}.name"), &json!(name)));
        }
        let schema = at(version, &["schema", "openAPIV3Schema"]);
        let field = format!("{field}.schema.openAPIV3Schema");
        if schema.is_null() {
            causes.push(Cause::required(field, "schemas are required"));
        } else {
            structural::validate_root(schema, &field, causes);
        }
    }
    let storing = versions.iter().filter(|v| v["storage"] == true).count();
    if storing != 1 {
        let names: Vec<&str> = versions.iter().map(|v| text(v, &["name"])).collect();
        let detail = "must have exactly one version marked as storage version";
        causes.push(Cause::invalid("spec.versions", &json!(names), detail));
    }
}

/// What stays while objects exist: group, scope, kind and plural; and versions objects may still
/// be stored in.
pub(in crate::schema) fn validate_update(old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    for path in [
        ["spec", "group", ""],
        ["spec", "scope", ""],
        ["spec", "names", "kind"],
        ["spec", "names", "plural"],
    ] {
        let path: Vec<&str> = path.into_iter().filter(|p| !p.is_empty()).collect();
        if at(old, &path) != at(new, &path) {
            immutable(causes, &path.join("."), at(new, &path));
        }
    }
    let versions = items(new, &["spec", "versions"]);
    for (i, stored) in items(old, &["status", "storedVersions"]).iter().enumerate() {
        if !versions.iter().any(|v| v["name"] == *stored) {
            let field = format!("status.storedVersions[{i}]");
            let detail = "missing from spec.versions; versions that were previously a storage \
                          version must remain in spec.versions until they are removed here";
            causes.push(Cause::invalid(field, stored, detail));
        }
    }
}
