//! Namespaces: what a new one looks like, and whether one takes new content.

use super::json::{default, deleting, items, map_in, name, namespace, text};
use crate::apiserver::resources::ResourceDef;
use crate::status::ApiError;
use crate::store::{ResourceKey, Store};
use serde_json::{Value, json};

/// Label every namespace carries, with its name.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Refuses new objects where there is no namespace, or one that is going away.
pub(super) fn takes_content(store: &Store, def: &ResourceDef, obj: &Value) -> Result<(), ApiError> {
    let ns = namespace(obj);
    if !def.namespaced || ns.is_empty() {
        return Ok(());
    }
    let Some(found) = store.get(&ResourceKey::core("namespaces"), None, ns) else {
        return Err(ApiError::not_found("", "namespaces", ns));
    };
    if deleting(&found) {
        let name = name(obj);
        return Err(ApiError::namespace_terminating(
            &def.group,
            &def.plural,
            name,
            ns,
        ));
    }
    Ok(())
}

/// Completes a namespace. The finalizer holds it until the namespace controller has emptied it.
pub(super) fn complete(obj: &mut Value, new: bool) {
    let name = name(obj).to_owned();
    if let Some(labels) = obj.get_mut("metadata").and_then(|m| map_in(m, "labels")) {
        labels.insert(NAME_LABEL.to_owned(), json!(name));
    }
    map_in(obj, "spec");
    if new {
        if !items(obj, &["spec", "finalizers"])
            .iter()
            .any(|f| f == "kubernetes")
        {
            obj["spec"]["finalizers"] = json!(["kubernetes"]);
        }
        obj["status"] = json!({"phase": "Active"});
    }
    map_in(obj, "status");
    if text(obj, &["status", "phase"]).is_empty() {
        default(&mut obj["status"], "phase", "Active");
    }
}
