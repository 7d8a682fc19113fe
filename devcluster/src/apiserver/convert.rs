//! One object in the versions it is served in. Objects are stored in one form only.

use super::resources::ResourceDef;
use crate::schema;
use serde_json::{Value, json};
use std::sync::Arc;

/// Fields the two event APIs name differently: core, events.k8s.io.
const EVENT_FIELDS: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

/// Whether stored objects are shown as they are.
fn stored_as_shown(def: &ResourceDef, version: &str) -> bool {
    !def.custom
        && def.stored_as.is_none()
        && def.storage_version().is_some_and(|v| v.name == version)
}

/// A stored object as `version` shows it.
pub(super) fn shown(def: &ResourceDef, version: &str, stored: &Arc<Value>) -> Arc<Value> {
    if stored_as_shown(def, version) {
        return stored.clone();
    }
    let mut obj = (**stored).clone();
    if def.stored_as.is_some() {
        rename(&mut obj, |&(core, own)| (core, own));
        obj["apiVersion"] = json!(def.api_version(version));
    } else {
        schema::convert(def, &mut obj, version);
    }
    Arc::new(obj)
}

/// An object of some version in the form it is stored in.
pub(super) fn stored(def: &ResourceDef, mut obj: Value) -> Value {
    if def.stored_as.is_some() {
        rename(&mut obj, |&(core, own)| (own, core));
        obj["apiVersion"] = json!("v1");
    } else if let Some(version) = def.storage_version() {
        obj["apiVersion"] = json!(def.api_version(&version.name));
    }
    obj
}

fn rename(obj: &mut Value, way: fn(&(&'static str, &'static str)) -> (&'static str, &'static str)) {
    let Some(fields) = obj.as_object_mut() else {
        return;
    };
    for pair in EVENT_FIELDS {
        let (from, to) = way(pair);
        if let Some(value) = fields.remove(from) {
            fields.insert(to.to_owned(), value);
        }
    }
}
