//! Namespaces: those every cluster has, and the end of those that are deleted. A namespace goes
//! when nothing is left in it, whatever the kind.

use super::objects::{Key, namespaces};
use crate::apiserver::resources::{Registry, ResourceDef};
use crate::schema::Schema;
use crate::schema::json::{deleting, items, name};
use crate::status::ApiError;
use crate::store::{DeleteOptions, ResourceKey, Store, now};
use mesh_daemon::Shutdown;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Namespaces of every cluster. `kube-node-lease` is where node agents report that they live.
const INITIAL: &[&str] = &["default", "kube-node-lease", "kube-public", "kube-system"];

/// Makes the namespaces of every cluster.
pub(super) fn initial(store: &Store, registry: &Registry, schema: &Schema) -> Result<(), ApiError> {
    let Some(def) = registry.get("", "namespaces") else {
        return Ok(());
    };
    for name in INITIAL {
        if store.get(&namespaces(), None, name).is_none() {
            let mut ns =
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            schema.prepare_create(&def, "v1", &mut ns)?;
            store.create(&namespaces(), ns)?;
        }
    }
    Ok(())
}

/// Empties and finalizes namespaces that are being deleted, until the shutdown.
///
/// While one is, any write may be the last object leaving it; otherwise only namespaces matter.
pub(super) async fn run(store: Store, registry: Registry, shutdown: Shutdown) {
    let mut any = store.changed();
    let mut kinds = registry.changed();
    loop {
        any.mark_unchanged();
        kinds.mark_unchanged();
        for ns in store.list(&namespaces(), None).0 {
            if deleting(&ns)
                && let Err(fault) = empty(&store, &registry, name(&ns))
            {
                tracing::warn!(namespace = name(&ns), %fault, "cannot be emptied yet");
            }
        }
        tokio::select! {
            () = shutdown.requested() => return,
            _ = any.changed() => {}
            _ = kinds.changed() => {}
        }
    }
}

/// Deletes what is in a namespace; lets it go once there is nothing.
fn empty(store: &Store, registry: &Registry, ns: &str) -> Result<(), ApiError> {
    let mut left = BTreeMap::new();
    for key in kinds(registry) {
        let (objects, _) = store.list(&key, Some(ns));
        for object in objects.iter().filter(|o| !deleting(o)) {
            let gone = store.delete(&key, Some(ns), name(object), &DeleteOptions::default());
            if let Err(fault) = gone
                && fault.code != 404
            {
                return Err(fault);
            }
        }
        let count = store.list(&key, Some(ns)).0.len();
        if count > 0 {
            left.insert(key.to_string(), count);
        }
    }
    let done = store.update(&namespaces(), None, ns, |old| {
        let mut new = old.clone();
        if left.is_empty() {
            new["spec"]["finalizers"] = json!([]);
        } else {
            new["status"]["conditions"] = remaining(old, &left);
        }
        Ok(new)
    });
    match done {
        Err(fault) if fault.code != 404 => Err(fault),
        _ => Ok(()),
    }
}

/// Where namespaced objects are stored, each place once.
fn kinds(registry: &Registry) -> Vec<ResourceKey> {
    let stored = |def: &ResourceDef| def.namespaced && def.verbs.iter().any(|v| v == "delete");
    let mut keys: Vec<ResourceKey> = registry
        .all()
        .iter()
        .filter(|d| stored(d))
        .map(|d| d.key())
        .collect();
    keys.sort();
    keys.dedup();
    keys
}

/// What a namespace still waits for.
fn remaining(old: &Value, left: &BTreeMap<String, usize>) -> Value {
    let what: Vec<String> = left
        .iter()
        .map(|(kind, count)| format!("{kind} has {count} resource instances"))
        .collect();
    let message = format!("Some resources are remaining: {}", what.join(", "));
    let was = items(old, &["status", "conditions"]).first();
    let since = match was {
        Some(was) if was["message"] == message => was["lastTransitionTime"].clone(),
        _ => json!(now()),
    };
    json!([{"type": "NamespaceContentRemaining", "status": "True", "reason": "SomeResourcesRemain",
            "message": message, "lastTransitionTime": since}])
}

/// Whether the namespace of a key takes new objects.
pub(super) fn living(store: &Store, key: &Key) -> bool {
    store
        .get(&namespaces(), None, &key.ns)
        .is_some_and(|ns| !deleting(&ns))
}
