//! What users leave out of a CRD, and the status that says it is served.

use crate::schema::json::{at, default, items, map_in, name, text, uid};
use crate::store::{ResourceKey, Store, now};
use serde_json::{Value, json};

/// Fills in names, conversion and columns.
pub(in crate::schema) fn complete(obj: &mut Value) {
    map_in(obj, "spec");
    let Some(spec) = obj.get_mut("spec") else {
        return;
    };
    default(spec, "conversion", json!({"strategy": "None"}));
    if map_in(spec, "names").is_some() {
        let names = &mut spec["names"];
        let kind = text(names, &["kind"]).to_owned();
        if !kind.is_empty() {
            default(names, "singular", kind.to_lowercase());
            default(names, "listKind", format!("{kind}List"));
        }
    }
}

/// Writes the status: which names were accepted, whether it is served, which versions objects may
/// still be stored in. The server serves it in the same step, so there is no `Installing`.
pub(in crate::schema) fn establish(old: Option<&Value>, obj: &mut Value, store: &Store) {
    let conflict = conflict(obj, store);
    let names = at(obj, &["spec", "names"]).clone();
    let mut stored: Vec<Value> = old
        .map(|o| items(o, &["status", "storedVersions"]).to_vec())
        .unwrap_or_default();
    let storage = items(obj, &["spec", "versions"])
        .iter()
        .find(|v| v["storage"] == true)
        .map(|v| v["name"].clone());
    if let Some(storage) = storage
        && !stored.contains(&storage)
    {
        stored.push(storage);
    }
    let was = old.map(|o| at(o, &["status"]).clone()).unwrap_or_default();
    let established = match &conflict {
        None => condition(
            "Established",
            true,
            "InitialNamesAccepted",
            "the initial names have been accepted",
        ),
        Some(_) => condition(
            "Established",
            false,
            "NotAccepted",
            "not all names are accepted",
        ),
    };
    let accepted = match &conflict {
        None => condition("NamesAccepted", true, "NoConflicts", "no conflicts found"),
        Some((reason, message)) => condition("NamesAccepted", false, reason, message),
    };
    let mut conditions = vec![accepted, established];
    keep_times(&was, &mut conditions);
    map_in(obj, "status");
    obj["status"] = json!({
        "acceptedNames": if conflict.is_none() { names } else { json!({"kind": "", "plural": ""}) },
        "conditions": conditions,
        "storedVersions": stored,
    });
}

fn condition(kind: &str, holds: bool, reason: &str, message: &str) -> Value {
    json!({"type": kind, "status": if holds { "True" } else { "False" }, "reason": reason,
           "message": message, "lastTransitionTime": now()})
}

/// A condition that did not change keeps the time since when it holds.
fn keep_times(was: &Value, conditions: &mut [Value]) {
    for condition in conditions {
        let before = items(was, &["conditions"])
            .iter()
            .find(|c| c["type"] == condition["type"] && c["status"] == condition["status"]);
        if let Some(before) = before {
            condition["lastTransitionTime"] = before["lastTransitionTime"].clone();
        }
    }
}

/// Another CRD of the group that already has one of the names.
fn conflict(obj: &Value, store: &Store) -> Option<(&'static str, String)> {
    let key = ResourceKey::new("apiextensions.k8s.io", "customresourcedefinitions");
    let (others, _) = store.list(&key, None);
    let own = at(obj, &["spec", "names"]);
    for other in others
        .iter()
        .filter(|o| name(o) != name(obj) && uid(o) != uid(obj))
    {
        if other["spec"]["group"] != obj["spec"]["group"] {
            continue;
        }
        let accepted = at(other, &["status", "acceptedNames"]);
        for (field, reason) in [
            ("plural", "PluralConflict"),
            ("kind", "KindConflict"),
            ("listKind", "ListKindConflict"),
            ("singular", "SingularConflict"),
        ] {
            let value = text(own, &[field]);
            if !value.is_empty() && text(accepted, &[field]) == value {
                return Some((reason, format!("{value:?} is already in use")));
            }
        }
    }
    None
}
