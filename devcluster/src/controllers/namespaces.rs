//! Namespaces: those every cluster has, and the end of those that are deleted. A namespace goes
//! when nothing is left in it, whatever the kind.

use super::objects::{Key, condition, namespaces};
use crate::apiserver::resources::{Registry, ResourceDef};
use crate::schema::Schema;
use crate::schema::json::{deleting, items, name};
use crate::status::ApiError;
use crate::store::{DeleteOptions, ResourceKey, Store, now};
use mesh_daemon::Shutdown;
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

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
    let mut left = Left::default();
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
        left.note(&key, &store.list(&key, Some(ns)).0);
    }
    let done = store.update(&namespaces(), None, ns, |old| {
        let mut new = old.clone();
        if left.objects.is_empty() {
            new["spec"]["finalizers"] = json!([]);
        } else {
            new["status"]["conditions"] = left.conditions(old);
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
#[derive(Default)]
struct Left {
    /// By `resource.group`.
    objects: BTreeMap<String, usize>,
    /// By the finalizer that holds so many of them.
    finalizers: BTreeMap<String, usize>,
}

impl Left {
    fn note(&mut self, key: &ResourceKey, objects: &[Arc<Value>]) {
        if objects.is_empty() {
            return;
        }
        let mut kind = key.to_string();
        if !kind.contains('.') {
            // The core group's name is empty.
            kind.push('.');
        }
        self.objects.insert(kind, objects.len());
        for object in objects {
            let finalizers = items(object, &["metadata", "finalizers"]);
            for finalizer in finalizers.iter().filter_map(Value::as_str) {
                *self.finalizers.entry(finalizer.to_owned()).or_default() += 1;
            }
        }
    }

    /// As the namespace controller of Kubernetes words them; one that says the same as before keeps
    /// its time.
    fn conditions(&self, old: &Value) -> Value {
        let list = |counts: &BTreeMap<String, usize>, verb: &str| {
            let parts: Vec<String> = counts
                .iter()
                .map(|(what, count)| format!("{what} {verb} {count} resource instances"))
                .collect();
            parts.join(", ")
        };
        let objects = list(&self.objects, "has");
        let mut all = vec![
            (
                "NamespaceDeletionDiscoveryFailure",
                "False",
                "ResourcesDiscovered",
                "All resources successfully discovered".to_owned(),
            ),
            (
                "NamespaceDeletionGroupVersionParsingFailure",
                "False",
                "ParsedGroupVersions",
                "All legacy kube types successfully parsed".to_owned(),
            ),
            (
                "NamespaceDeletionContentFailure",
                "False",
                "ContentDeleted",
                "All content successfully deleted, may be waiting on finalization".to_owned(),
            ),
            (
                "NamespaceContentRemaining",
                "True",
                "SomeResourcesRemain",
                format!("Some resources are remaining: {objects}"),
            ),
        ];
        let finalizers = list(&self.finalizers, "in");
        all.push(match self.finalizers.is_empty() {
            true => (
                "NamespaceFinalizersRemaining",
                "False",
                "ContentHasNoFinalizers",
                "All content-preserving finalizers finished".to_owned(),
            ),
            false => (
                "NamespaceFinalizersRemaining",
                "True",
                "SomeFinalizersRemain",
                format!("Some content in the namespace has finalizers remaining: {finalizers}"),
            ),
        });
        let conditions = all.into_iter().map(|(kind, status, reason, message)| {
            let since = condition(old, kind)
                .filter(|was| was["message"] == message)
                .map_or_else(|| json!(now()), |was| was["lastTransitionTime"].clone());
            json!({"type": kind, "status": status, "reason": reason, "message": message,
                   "lastTransitionTime": since})
        });
        conditions.collect()
    }
}

/// Whether the namespace of a key takes new objects.
pub(super) fn living(store: &Store, key: &Key) -> bool {
    store
        .get(&namespaces(), None, &key.ns)
        .is_some_and(|ns| !deleting(&ns))
}
