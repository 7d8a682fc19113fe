//! `metadata`, which all objects share: names, labels, annotations, owners, finalizers, and what
//! of it an update may not touch.

use super::json::{at, deleting, items, keep, name, namespace, remove, text};
use super::names::{self, Check, check};
use crate::apiserver::resources::ResourceDef;
use crate::status::Cause;
use serde_json::{Value, json};

/// Annotations may take that many bytes in all.
const ANNOTATIONS_MAX: usize = 256 * 1024;

/// How names of this kind are checked.
fn name_check(def: &ResourceDef) -> Check {
    match (def.group.as_str(), def.kind.as_str()) {
        ("", "Service") => names::label_1035,
        ("", "Namespace") => names::label,
        ("rbac.authorization.k8s.io", _) => names::path_segment,
        _ => names::subdomain,
    }
}

/// What a client may not say of a new object.
pub(super) fn reset_for_create(obj: &mut Value) {
    if let Some(metadata) = obj.get_mut("metadata") {
        for field in [
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "selfLink",
            "generation",
        ] {
            remove(metadata, field);
        }
    }
}

/// What an update cannot say, taken from the object as it was.
pub(super) fn reset_for_update(old: &Value, new: &mut Value) {
    let Some(metadata) = new.get_mut("metadata") else {
        return;
    };
    let was = at(old, &["metadata"]);
    for field in [
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
    ] {
        keep(was, metadata, field);
    }
    for field in ["uid", "creationTimestamp", "name", "namespace"] {
        if metadata.get(field).is_none_or(Value::is_null) {
            keep(was, metadata, field);
        }
    }
    remove(metadata, "selfLink");
}

/// Whether the metadata is well formed.
pub(super) fn validate(def: &ResourceDef, obj: &Value, causes: &mut Vec<Cause>) {
    validate_name(def, obj, causes);
    let ns = namespace(obj);
    if def.namespaced && ns.is_empty() {
        causes.push(Cause::required("metadata.namespace", ""));
    } else if def.namespaced {
        check(causes, "metadata.namespace", ns, names::label);
    } else if !ns.is_empty() {
        causes.push(Cause::forbidden(
            "metadata.namespace",
            "not allowed on this type",
        ));
    }
    labels(at(obj, &["metadata", "labels"]), "metadata.labels", causes);
    annotations(
        at(obj, &["metadata", "annotations"]),
        "metadata.annotations",
        causes,
    );
    finalizers(def, obj, causes);
    owners(obj, causes);
}

fn validate_name(def: &ResourceDef, obj: &Value, causes: &mut Vec<Cause>) {
    let name = name(obj);
    if name.is_empty() {
        causes.push(Cause::required(
            "metadata.name",
            "name or generateName is required",
        ));
    } else {
        check(causes, "metadata.name", name, name_check(def));
    }
}

/// Labels of an object or template.
pub(super) fn labels(map: &Value, field: &str, causes: &mut Vec<Cause>) {
    for (key, value) in map.as_object().into_iter().flatten() {
        check(causes, field, key, names::qualified);
        check(
            causes,
            field,
            value.as_str().unwrap_or_default(),
            names::label_value,
        );
    }
}

/// Annotations of an object or template.
pub(super) fn annotations(map: &Value, field: &str, causes: &mut Vec<Cause>) {
    let mut size = 0;
    for (key, value) in map.as_object().into_iter().flatten() {
        let lower = key.to_lowercase();
        for detail in names::qualified(&lower) {
            causes.push(Cause::invalid(field, &json!(key), &detail));
        }
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > ANNOTATIONS_MAX {
        let message = format!("Too long: may not be more than {ANNOTATIONS_MAX} bytes");
        causes.push(Cause {
            reason: "FieldValueTooLong",
            message,
            field: field.to_owned(),
        });
    }
}

fn finalizers(def: &ResourceDef, obj: &Value, causes: &mut Vec<Cause>) {
    const STANDARD: &[&str] = &["kubernetes", "orphan", "foregroundDeletion"];
    for (i, finalizer) in items(obj, &["metadata", "finalizers"]).iter().enumerate() {
        let key = finalizer.as_str().unwrap_or_default();
        check(causes, "metadata.finalizers", key, names::qualified);
        // CRDs and custom resources have had others for long.
        let strict = !def.custom && def.group != "apiextensions.k8s.io";
        if strict && !key.contains('/') && !STANDARD.contains(&key) {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            causes.push(Cause::invalid(
                format!("metadata.finalizers[{i}]"),
                finalizer,
                detail,
            ));
        }
    }
}

fn owners(obj: &Value, causes: &mut Vec<Cause>) {
    let mut controller = "";
    for (i, owner) in items(obj, &["metadata", "ownerReferences"])
        .iter()
        .enumerate()
    {
        let field = format!("metadata.ownerReferences[{i}]");
        for part in ["apiVersion", "kind", "name", "uid"] {
            if text(owner, &[part]).is_empty() {
                let detail = format!("{part} must not be empty");
                causes.push(Cause::invalid(
                    format!("{field}.{part}"),
                    &json!(""),
                    &detail,
                ));
            }
        }
        if owner["controller"] == true {
            if !controller.is_empty() {
                let detail = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in \
                     references for {controller} and {}",
                    text(owner, &["name"])
                );
                causes.push(Cause::invalid(
                    "metadata.ownerReferences",
                    &json!(null),
                    &detail,
                ));
            }
            controller = text(owner, &["name"]);
        }
    }
}

/// Whether an update leaves alone what must stay.
pub(super) fn validate_update(old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    for field in ["name", "namespace", "uid", "creationTimestamp"] {
        let path = ["metadata", field];
        if at(old, &path) != at(new, &path) {
            immutable(causes, &format!("metadata.{field}"), at(new, &path));
        }
    }
    if deleting(old) {
        let had = items(old, &["metadata", "finalizers"]);
        let more: Vec<&Value> = items(new, &["metadata", "finalizers"])
            .iter()
            .filter(|f| !had.contains(f))
            .collect();
        if !more.is_empty() {
            let names: Vec<&str> = more.iter().filter_map(|f| f.as_str()).collect();
            let detail = format!(
                "no new finalizers can be added if the object is being deleted, found new \
                 finalizers []string{{{names:?}}}"
            );
            causes.push(Cause::forbidden("metadata.finalizers", &detail));
        }
    }
}

/// A field that must stay as it is did not.
pub(super) fn immutable(causes: &mut Vec<Cause>, field: &str, value: &Value) {
    causes.push(Cause::invalid(field, value, "field is immutable"));
}
