//! Roles and bindings: form only. Whether the writer may grant them is `auth`'s question.

use super::json::{at, default, items, items_mut, map_in, text};
use super::names::{self, check};
use crate::status::Cause;
use serde_json::{Value, json};

const GROUP: &str = "rbac.authorization.k8s.io";

/// Fills in the API groups users leave out.
pub(super) fn complete_binding(obj: &mut Value) {
    if map_in(obj, "roleRef").is_some() {
        default(&mut obj["roleRef"], "apiGroup", GROUP);
    }
    for subject in items_mut(obj, "subjects") {
        if subject["kind"] == "User" || subject["kind"] == "Group" {
            default(subject, "apiGroup", GROUP);
        }
    }
}

/// Whether a role is well formed.
pub(super) fn validate_role(obj: &Value, causes: &mut Vec<Cause>) {
    let namespaced = obj["kind"] == "Role";
    for (i, rule) in items(obj, &["rules"]).iter().enumerate() {
        let field = format!("rules[{i}]");
        let empty = |key: &str| items(rule, &[key]).is_empty();
        if empty("verbs") {
            let detail = "verbs must contain at least one value";
            causes.push(Cause::required(format!("{field}.verbs"), detail));
        }
        if !empty("nonResourceURLs") {
            if namespaced {
                let detail = "namespaced rules cannot apply to non-resource URLs";
                let value = at(rule, &["nonResourceURLs"]);
                causes.push(Cause::invalid(
                    format!("{field}.nonResourceURLs"),
                    value,
                    detail,
                ));
            }
            if !empty("apiGroups") || !empty("resources") || !empty("resourceNames") {
                let detail = "rules cannot apply to both regular resources and non-resource URLs";
                let value = at(rule, &["nonResourceURLs"]);
                causes.push(Cause::invalid(
                    format!("{field}.nonResourceURLs"),
                    value,
                    detail,
                ));
            }
            continue;
        }
        if empty("apiGroups") {
            let detail = "resource rules must supply at least one api group";
            causes.push(Cause::required(format!("{field}.apiGroups"), detail));
        }
        if empty("resources") {
            let detail = "resource rules must supply at least one resource";
            causes.push(Cause::required(format!("{field}.resources"), detail));
        }
    }
}

/// Whether a binding is well formed.
pub(super) fn validate_binding(obj: &Value, causes: &mut Vec<Cause>) {
    let group = text(obj, &["roleRef", "apiGroup"]);
    if group != GROUP {
        causes.push(Cause::unsupported(
            "roleRef.apiGroup",
            &json!(group),
            &[GROUP],
        ));
    }
    let kinds: &[&str] = if obj["kind"] == "RoleBinding" {
        &["ClusterRole", "Role"]
    } else {
        &["ClusterRole"]
    };
    let kind = text(obj, &["roleRef", "kind"]);
    if !kinds.contains(&kind) {
        causes.push(Cause::unsupported("roleRef.kind", &json!(kind), kinds));
    }
    let name = text(obj, &["roleRef", "name"]);
    if name.is_empty() {
        causes.push(Cause::required("roleRef.name", ""));
    } else {
        check(causes, "roleRef.name", name, names::path_segment);
    }
    for (i, subject) in items(obj, &["subjects"]).iter().enumerate() {
        validate_subject(subject, &format!("subjects[{i}]"), causes);
    }
}

fn validate_subject(subject: &Value, field: &str, causes: &mut Vec<Cause>) {
    let name = text(subject, &["name"]);
    if name.is_empty() {
        causes.push(Cause::required(format!("{field}.name"), ""));
    }
    let group = text(subject, &["apiGroup"]);
    match text(subject, &["kind"]) {
        "ServiceAccount" => {
            if !name.is_empty() {
                check(causes, &format!("{field}.name"), name, names::subdomain);
            }
            if !group.is_empty() {
                causes.push(Cause::unsupported(
                    format!("{field}.apiGroup"),
                    &json!(group),
                    &[""],
                ));
            }
            if text(subject, &["namespace"]).is_empty() {
                causes.push(Cause::required(format!("{field}.namespace"), ""));
            }
        }
        "User" | "Group" => {
            if group != GROUP {
                let at = format!("{field}.apiGroup");
                causes.push(Cause::unsupported(at, &json!(group), &[GROUP]));
            }
        }
        other => {
            let kinds = &["Group", "ServiceAccount", "User"];
            causes.push(Cause::unsupported(
                format!("{field}.kind"),
                &json!(other),
                kinds,
            ));
        }
    }
}

/// What a binding grants stays.
pub(super) fn validate_binding_update(old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    if at(old, &["roleRef"]) != at(new, &["roleRef"]) {
        let detail = "cannot change roleRef";
        causes.push(Cause::invalid("roleRef", at(new, &["roleRef"]), detail));
    }
}
