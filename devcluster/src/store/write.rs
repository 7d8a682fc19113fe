//! Writing: create, update, delete, each atomic and each one event.

use super::{Data, ObjectKey, object_key};
use super::{DeleteOptions, Deleted, Event, EventKind, Propagation, ResourceKey, Store, Table};
use crate::status::ApiError;
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};
use std::sync::Arc;

/// How long a pod may take to stop when nobody says otherwise.
const DEFAULT_GRACE: u64 = 30;

impl Store {
    /// Stores a new object under the namespace and name of its metadata; sets `resourceVersion`,
    /// and `uid` and `creationTimestamp` where they are missing.
    pub fn create(&self, key: &ResourceKey, mut obj: Value) -> Result<Arc<Value>, ApiError> {
        let _writer = self.shared.writer.lock();
        let name = text(&obj, "name").unwrap_or_default().to_owned();
        if name.is_empty() || !obj["metadata"].is_object() {
            return Err(ApiError::internal(format!(
                "{key}: an object to store has no name"
            )));
        }
        let at = object_key(text(&obj, "namespace"), &name);
        if self
            .shared
            .data
            .read()
            .tables
            .get(key)
            .is_some_and(|t| t.objects.contains_key(&at))
        {
            return Err(ApiError::already_exists(&key.group, &key.plural, &name));
        }
        let metadata = &mut obj["metadata"];
        if text_of(metadata, "uid").is_none_or(str::is_empty) {
            metadata["uid"] = json!(new_uid());
        }
        if text_of(metadata, "creationTimestamp").is_none() {
            metadata["creationTimestamp"] = json!(now());
        }
        Ok(self.commit(key, at, EventKind::Added, obj, None))
    }

    /// Replaces an object by what `f` makes of it, atomically. An object left as it was makes no
    /// event; one that is being deleted goes when nothing holds it any more.
    ///
    /// `f` may read the store, and write other objects.
    pub fn update(
        &self,
        key: &ResourceKey,
        ns: Option<&str>,
        name: &str,
        f: impl FnOnce(&Value) -> Result<Value, ApiError>,
    ) -> Result<Arc<Value>, ApiError> {
        let _writer = self.shared.writer.lock();
        let old = self.existing(key, ns, name)?;
        let mut new = f(&old)?;
        keep_identity(&old, &mut new);
        if new == *old {
            return Ok(old);
        }
        let kind = if may_go(&new) {
            EventKind::Deleted
        } else {
            EventKind::Modified
        };
        Ok(self.commit(key, object_key(ns, name), kind, new, Some(old)))
    }

    /// Deletes an object, or marks it when finalizers or a node hold it.
    pub fn delete(
        &self,
        key: &ResourceKey,
        ns: Option<&str>,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Deleted, ApiError> {
        let _writer = self.shared.writer.lock();
        let old = self.existing(key, ns, name)?;
        preconditions(key, name, &old, options)?;
        let mut new = (*old).clone();
        mark(key, &mut new, options);
        if may_go(&new) {
            if options.dry_run {
                return Ok(Deleted::Removed(old));
            }
            // A watcher is shown the object as it was, not marked for an instant.
            let last = if old["metadata"]["deletionTimestamp"].is_null() {
                (*old).clone()
            } else {
                new
            };
            let at = object_key(ns, name);
            return Ok(Deleted::Removed(self.commit(
                key,
                at,
                EventKind::Deleted,
                last,
                Some(old),
            )));
        }
        if options.dry_run || new == *old {
            return Ok(Deleted::Terminating(Arc::new(new)));
        }
        let at = object_key(ns, name);
        Ok(Deleted::Terminating(self.commit(
            key,
            at,
            EventKind::Modified,
            new,
            Some(old),
        )))
    }

    /// Forgets a kind: its objects go, with an event each, whatever holds them.
    pub fn drop_kind(&self, key: &ResourceKey) {
        let _writer = self.shared.writer.lock();
        for object in self.list(key, None).0 {
            let at = object_key(
                text(&object, "namespace"),
                text(&object, "name").unwrap_or(""),
            );
            self.commit(key, at, EventKind::Deleted, (*object).clone(), Some(object));
        }
    }

    fn existing(
        &self,
        key: &ResourceKey,
        ns: Option<&str>,
        name: &str,
    ) -> Result<Arc<Value>, ApiError> {
        self.get(key, ns, name)
            .ok_or_else(|| ApiError::not_found(&key.group, &key.plural, name))
    }

    /// The one place where the revision moves.
    fn commit(
        &self,
        key: &ResourceKey,
        at: ObjectKey,
        kind: EventKind,
        mut object: Value,
        previous: Option<Arc<Value>>,
    ) -> Arc<Value> {
        let mut data = self.shared.data.write();
        let (floor, revision) = (data.floor, data.revision + 1);
        data.revision = revision;
        object["metadata"]["resourceVersion"] = json!(revision.to_string());
        let object = Arc::new(object);
        record(
            &mut data,
            revision,
            key,
            &at,
            (kind != EventKind::Deleted).then_some(&object),
        );
        let event = Event {
            revision,
            kind,
            object: object.clone(),
            previous,
        };
        let table = data
            .tables
            .entry(key.clone())
            .or_insert_with(|| Table::new(floor));
        table.apply(at, event, self.shared.history);
        if let Data {
            journal: Some(journal),
            tables,
            ..
        } = &mut *data
            && journal.grown()
            && let Err(error) = journal.compact(revision, tables)
        {
            tracing::error!(%error, "rewriting the store's journal");
        }
        drop(data);
        self.shared.revision.send_replace(revision);
        object
    }
}

/// Writes a change down. A disk that fails costs the next start its memory, not this one its work.
fn record(
    data: &mut Data,
    revision: u64,
    key: &ResourceKey,
    at: &ObjectKey,
    object: Option<&Arc<Value>>,
) {
    let Some(journal) = &mut data.journal else {
        return;
    };
    if let Err(error) = journal.append(revision, key, at, object) {
        tracing::error!(%error, %key, "writing the store's journal");
    }
}

/// `metadata.resourceVersion` as a number.
pub(crate) fn revision_of(obj: &Value) -> Option<u64> {
    text(obj, "resourceVersion")?.parse().ok()
}

fn text<'a>(obj: &'a Value, key: &str) -> Option<&'a str> {
    text_of(obj.get("metadata")?, key)
}

fn text_of<'a>(metadata: &'a Value, key: &str) -> Option<&'a str> {
    metadata.get(key)?.as_str()
}

/// The present as `metav1.Time` spells it.
pub fn now() -> String {
    spelled(Utc::now())
}

fn spelled(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// A random (version 4) UUID.
pub fn new_uid() -> String {
    let mut bytes: [u8; 16] = rand::random();
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

/// What no update may change.
fn keep_identity(old: &Value, new: &mut Value) {
    if !new["metadata"].is_object() {
        new["metadata"] = json!({});
    }
    let kept = [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "resourceVersion",
        "deletionTimestamp",
    ];
    for field in kept {
        let was = &old["metadata"][field];
        // Marking for deletion is a write like any other; unmarking does not exist.
        if was.is_null() && field == "deletionTimestamp" {
            continue;
        }
        if let Some(metadata) = new["metadata"].as_object_mut() {
            if was.is_null() {
                metadata.remove(field);
            } else {
                metadata.insert(field.to_owned(), was.clone());
            }
        }
    }
}

/// Whether a marked object is held by nothing.
fn may_go(obj: &Value) -> bool {
    let metadata = &obj["metadata"];
    let empty = |v: &Value| v.as_array().is_none_or(Vec::is_empty);
    !metadata["deletionTimestamp"].is_null()
        && empty(&metadata["finalizers"])
        && metadata["deletionGracePeriodSeconds"].as_u64().unwrap_or(0) == 0
        && (obj["kind"] != "Namespace" || empty(&obj["spec"]["finalizers"]))
}

fn preconditions(
    key: &ResourceKey,
    name: &str,
    old: &Value,
    options: &DeleteOptions,
) -> Result<(), ApiError> {
    let wanted = [
        ("UID", "uid", &options.uid),
        (
            "ResourceVersion",
            "resourceVersion",
            &options.resource_version,
        ),
    ];
    for (what, field, wanted) in wanted {
        let found = text(old, field).unwrap_or_default();
        if let Some(wanted) = wanted
            && wanted != found
        {
            let detail = format!(
                "Precondition failed: {what} in precondition: {wanted}, {what} in object meta: \
                 {found}"
            );
            return Err(ApiError::conflict_because(
                &key.group,
                &key.plural,
                name,
                &detail,
            ));
        }
    }
    Ok(())
}

/// Sets what says that an object is being deleted.
fn mark(key: &ResourceKey, obj: &mut Value, options: &DeleteOptions) {
    let grace = grace_period(key, obj, options);
    let is_namespace = obj["kind"] == "Namespace";
    let metadata = &mut obj["metadata"];
    let first = metadata["deletionTimestamp"].is_null();
    let shorter = metadata["deletionGracePeriodSeconds"]
        .as_u64()
        .is_some_and(|g| grace < g);
    if first || shorter {
        let due =
            Utc::now() + chrono::Duration::seconds(i64::try_from(grace).unwrap_or(i64::MAX / 4));
        metadata["deletionTimestamp"] = json!(spelled(due));
        // Namespaces go by themselves, and are told of no time.
        if !is_namespace {
            metadata["deletionGracePeriodSeconds"] = json!(grace);
        }
    }
    if first && let Some(generation) = metadata["generation"].as_u64() {
        metadata["generation"] = json!(generation + 1);
    }
    match options.propagation {
        Some(Propagation::Foreground) => set_finalizer(metadata, "foregroundDeletion", "orphan"),
        Some(Propagation::Orphan) => set_finalizer(metadata, "orphan", "foregroundDeletion"),
        Some(Propagation::Background) | None => {}
    }
    if is_namespace {
        obj["status"]["phase"] = json!("Terminating");
    }
}

/// Only a pod that a node runs needs time to stop.
fn grace_period(key: &ResourceKey, obj: &Value, options: &DeleteOptions) -> u64 {
    let pod = &*key.plural == "pods" && key.group.is_empty();
    let bound = obj["spec"]["nodeName"]
        .as_str()
        .is_some_and(|n| !n.is_empty());
    let over = matches!(
        obj["status"]["phase"].as_str(),
        Some("Succeeded" | "Failed")
    );
    if !pod || !bound || over {
        return 0;
    }
    let own = obj["spec"]["terminationGracePeriodSeconds"].as_u64();
    options
        .grace_period_seconds
        .or(own)
        .unwrap_or(DEFAULT_GRACE)
}

fn set_finalizer(metadata: &mut Value, add: &str, remove: &str) {
    let mut finalizers = metadata["finalizers"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    finalizers.retain(|f| f != remove);
    if !finalizers.iter().any(|f| f == add) {
        finalizers.push(json!(add));
    }
    metadata["finalizers"] = Value::Array(finalizers);
}
