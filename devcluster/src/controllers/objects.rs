//! What all controllers know about objects: where kinds are stored, who controls whom, and when a
//! pod counts.

use crate::schema::json::{at, deleting, items, text};
use crate::store::ResourceKey;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

/// Namespace (empty for cluster-wide objects) and name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) ns: String,
    pub(super) name: String,
}

impl Key {
    pub(super) fn new(ns: &str, name: &str) -> Self {
        Self {
            ns: ns.to_owned(),
            name: name.to_owned(),
        }
    }

    pub(super) fn of(obj: &Value) -> Self {
        Self::new(
            text(obj, &["metadata", "namespace"]),
            text(obj, &["metadata", "name"]),
        )
    }

    /// The namespace as the store wants it.
    pub(super) fn namespace(&self) -> Option<&str> {
        (!self.ns.is_empty()).then_some(self.ns.as_str())
    }
}

pub(super) fn pods() -> ResourceKey {
    ResourceKey::core("pods")
}

pub(super) fn services() -> ResourceKey {
    ResourceKey::core("services")
}

pub(super) fn namespaces() -> ResourceKey {
    ResourceKey::core("namespaces")
}

pub(super) fn slices() -> ResourceKey {
    ResourceKey::new("discovery.k8s.io", "endpointslices")
}

pub(super) fn deployments() -> ResourceKey {
    ResourceKey::new("apps", "deployments")
}

pub(super) fn replicasets() -> ResourceKey {
    ResourceKey::new("apps", "replicasets")
}

pub(super) fn statefulsets() -> ResourceKey {
    ResourceKey::new("apps", "statefulsets")
}

/// The owner that controls an object.
pub(super) fn controller_of(obj: &Value) -> Option<&Value> {
    items(obj, &["metadata", "ownerReferences"])
        .iter()
        .find(|o| o["controller"] == true)
}

/// Whether `uid` controls an object.
pub(super) fn controlled_by(obj: &Value, uid: &str) -> bool {
    controller_of(obj).is_some_and(|o| text(o, &["uid"]) == uid)
}

/// The reference by which `owner` controls what it makes.
pub(super) fn control(owner: &Value) -> Value {
    json!({
        "apiVersion": text(owner, &["apiVersion"]), "kind": text(owner, &["kind"]),
        "name": text(owner, &["metadata", "name"]), "uid": text(owner, &["metadata", "uid"]),
        "controller": true, "blockOwnerDeletion": true,
    })
}

/// A condition of an object's status.
pub(super) fn condition<'a>(obj: &'a Value, kind: &str) -> Option<&'a Value> {
    items(obj, &["status", "conditions"])
        .iter()
        .find(|c| c["type"] == kind)
}

/// Whether a pod is over for good.
pub(super) fn finished(pod: &Value) -> bool {
    matches!(text(pod, &["status", "phase"]), "Succeeded" | "Failed")
}

/// Whether a pod counts for whoever keeps a number of them.
pub(super) fn active(pod: &Value) -> bool {
    !finished(pod) && !deleting(pod)
}

/// Whether a pod says that it is ready.
pub(super) fn ready(pod: &Value) -> bool {
    condition(pod, "Ready").is_some_and(|c| c["status"] == "True")
}

/// Since when a pod is ready.
pub(super) fn ready_since(pod: &Value) -> Option<DateTime<Utc>> {
    let ready = condition(pod, "Ready").filter(|c| c["status"] == "True")?;
    time(at(ready, &["lastTransitionTime"]))
}

/// A time as Kubernetes writes it.
pub(super) fn time(value: &Value) -> Option<DateTime<Utc>> {
    let parsed = DateTime::parse_from_rfc3339(value.as_str()?).ok()?;
    Some(parsed.with_timezone(&Utc))
}

/// The number at a path, or 0.
pub(super) fn number(obj: &Value, path: &[&str]) -> i64 {
    at(obj, path).as_i64().unwrap_or_default()
}

/// A name of at most `max` bytes that ends in `suffix`.
pub(super) fn suffixed(base: &str, suffix: &str, max: usize) -> String {
    let room = max.saturating_sub(suffix.len() + 1);
    let cut = base
        .char_indices()
        .map(|(i, c)| i + c.len_utf8())
        .take_while(|end| *end <= room)
        .last()
        .unwrap_or(0);
    format!("{}-{suffix}", &base[..cut])
}
