//! CustomResourceDefinitions: what a new or changed one makes served, and what its deletion
//! takes away.

use super::{Api, Call};
use crate::apiserver::resources::{Registry, ResourceDef};
use crate::schema::crd_to_def;
use crate::status::ApiError;
use crate::store::{DeleteOptions, EventKind, ResourceKey, Store, now};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// Holds a deleted definition until its objects are gone.
const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";
/// How often it is looked whether they are.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

fn key() -> ResourceKey {
    ResourceKey::new("apiextensions.k8s.io", "customresourcedefinitions")
}

/// Looks at a CRD about to be written: sets its conditions, and returns what to serve for it.
/// Any other object passes.
pub(super) fn accept(
    call: &Call,
    old: Option<&Value>,
    crd: &mut Value,
) -> Result<Option<ResourceDef>, ApiError> {
    if call.def.kind != "CustomResourceDefinition" {
        return Ok(None);
    }
    let def = crd_to_def(crd)?;
    let taken = taken(&call.api.registry, &def);
    if old.is_none() {
        add_finalizer(crd);
    }
    let names = crd["spec"]["names"].clone();
    if crd["status"]["acceptedNames"].is_null() || taken.is_none() {
        crd["status"]["acceptedNames"] = names;
    }
    store_versions(crd, &def);
    let (accepted, message) = match &taken {
        None => (true, "no conflicts found".to_owned()),
        Some(message) => (false, message.clone()),
    };
    let reason = if accepted {
        "NoConflicts"
    } else {
        "NamesConflict"
    };
    set_condition(crd, "NamesAccepted", accepted, reason, &message);
    let (reason, message) = if accepted {
        (
            "InitialNamesAccepted",
            "the initial names have been accepted",
        )
    } else {
        ("NotAccepted", "not all names are accepted")
    };
    set_condition(crd, "Established", accepted, reason, message);
    Ok(accepted.then_some(def))
}

/// Why the names cannot be served, if another resource of the group has them.
fn taken(registry: &Registry, def: &ResourceDef) -> Option<String> {
    let others = registry.all();
    let mut others = others
        .iter()
        .filter(|o| o.group == def.group && o.plural != def.plural);
    let same_kind = others.find(|o| o.kind == def.kind || o.singular == def.plural)?;
    Some(format!(
        "{:?} is already in use by {}",
        def.kind, same_kind.plural
    ))
}

fn add_finalizer(crd: &mut Value) {
    let mut finalizers = crd["metadata"]["finalizers"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    if !finalizers.iter().any(|f| f == CLEANUP) {
        finalizers.push(json!(CLEANUP));
    }
    crd["metadata"]["finalizers"] = Value::Array(finalizers);
}

fn store_versions(crd: &mut Value, def: &ResourceDef) {
    let mut versions = crd["status"]["storedVersions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    if let Some(storage) = def.storage_version()
        && !versions.iter().any(|v| *v == storage.name)
    {
        versions.push(json!(storage.name));
    }
    crd["status"]["storedVersions"] = Value::Array(versions);
}

fn set_condition(crd: &mut Value, kind: &str, holds: bool, reason: &str, message: &str) {
    let status = if holds { "True" } else { "False" };
    let mut list = crd["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let was = list.iter().find(|c| c["type"] == kind);
    let unchanged = was.is_some_and(|c| c["status"] == status && c["message"] == message);
    if unchanged {
        return;
    }
    list.retain(|c| c["type"] != kind);
    list.push(
        json!({"type": kind, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": now()}),
    );
    crd["status"]["conditions"] = Value::Array(list);
}

/// New objects of a kind that is going away are refused.
pub(super) fn refuse_while_terminating(call: &Call) -> Result<(), ApiError> {
    if !call.def.custom {
        return Ok(());
    }
    let name = format!("{}.{}", call.def.plural, call.def.group);
    let crd = call.api.store.get(&key(), None, &name);
    if crd.is_some_and(|crd| !crd["metadata"]["deletionTimestamp"].is_null()) {
        let mut error = ApiError::method_not_allowed();
        error.message =
            "create not allowed while custom resource definition is terminating".to_owned();
        return Err(error);
    }
    Ok(())
}

/// Serves what stored definitions define; for a store that was there before this process.
pub(in crate::apiserver) fn serve_stored(store: &Store, registry: &Registry) {
    for crd in store.list(&key(), None).0 {
        let established = |c: &Value| c["type"] == "Established" && c["status"] == "True";
        let conditions = crd["status"]["conditions"].as_array();
        if conditions.into_iter().flatten().any(established)
            && let Ok(def) = crd_to_def(&crd)
        {
            registry.insert(def);
        }
    }
}

/// Deletes the objects of definitions that are being deleted, then lets the definitions go and
/// serves them no more. Runs until shutdown.
pub(in crate::apiserver) async fn follow_deletions(api: Arc<Api>) {
    loop {
        let watched = tokio::select! {
            watched = watch_deletions(&api) => watched,
            () = api.shutdown.requested() => return,
        };
        if let Err(error) = watched {
            tracing::warn!(%error, "watching custom resource definitions; starting over");
        }
    }
}

async fn watch_deletions(api: &Arc<Api>) -> Result<(), ApiError> {
    let mut events = api.store.watch(&key(), None)?;
    loop {
        let event = events.next().await?;
        let spec = &event.object["spec"];
        let (Some(group), Some(plural)) =
            (spec["group"].as_str(), spec["names"]["plural"].as_str())
        else {
            continue;
        };
        if event.kind == EventKind::Deleted {
            let of = ResourceKey::new(group, plural);
            api.registry.remove(group, plural);
            api.store.drop_kind(&of);
        } else if !event.object["metadata"]["deletionTimestamp"].is_null() {
            let (api, crd) = (api.clone(), event.object.clone());
            tokio::spawn(async move {
                let name = crd["metadata"]["name"].as_str().unwrap_or_default();
                clean_up(&api, name, &crd).await;
            });
        }
    }
}

/// Asks the objects of a definition to go, waits until they are gone, and lets it go.
async fn clean_up(api: &Arc<Api>, name: &str, crd: &Value) {
    let spec = &crd["spec"];
    let (group, plural) = (&spec["group"], &spec["names"]["plural"]);
    let of = ResourceKey::new(
        group.as_str().unwrap_or_default(),
        plural.as_str().unwrap_or_default(),
    );
    loop {
        let (left, _) = api.store.list(&of, None);
        if left.is_empty() {
            break;
        }
        for obj in left
            .iter()
            .filter(|o| o["metadata"]["deletionTimestamp"].is_null())
        {
            let metadata = &obj["metadata"];
            let name = metadata["name"].as_str().unwrap_or_default();
            let options = DeleteOptions::default();
            // Gone in between is as good.
            let _ = api
                .store
                .delete(&of, metadata["namespace"].as_str(), name, &options);
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_AGAIN) => {}
            () = api.shutdown.requested() => return,
        }
    }
    let released = api.store.update(&key(), None, name, |crd| {
        let mut crd = crd.clone();
        if let Some(finalizers) = crd["metadata"]["finalizers"].as_array_mut() {
            finalizers.retain(|f| f != CLEANUP);
        }
        Ok(crd)
    });
    if let Err(error) = released
        && error.code != 404
    {
        tracing::warn!(%error, crd = name, "letting a deleted definition go");
    }
}
