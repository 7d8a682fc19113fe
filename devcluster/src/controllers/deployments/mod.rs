//! Deployments: one ReplicaSet per template, and the rollout from the old ones to the newest.
//!
//! [`plan`] decides sizes, [`status`] what to say; both are pure. Here is what finds and makes
//! the sets and writes the outcome.

mod plan;
mod status;

use super::driver::Controller;
use super::events::Recorder;
use super::objects::{
    Key, active, control, controlled_by, controller_of, deployments, finished, number, pods,
    replicasets, suffixed,
};
use crate::schema::json::{at, deleting, items, map_in, name, namespace, remove, text, uid};
use crate::schema::selector;
use crate::status::ApiError;
use crate::store::{DeleteOptions, ResourceKey, Store};
use chrono::Utc;
use plan::{Limits, Set, Sizes};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const HASH: &str = "pod-template-hash";
const REVISION: &str = "deployment.kubernetes.io/revision";
/// Annotations that are not handed on to ReplicaSets.
const OWN_ANNOTATIONS: &[&str] = &[REVISION, "kubectl.kubernetes.io/last-applied-configuration"];

/// Rolls out.
pub(super) struct Deployments {
    pub(super) store: Store,
    pub(super) recorder: Recorder,
}

impl Controller for Deployments {
    fn name(&self) -> &'static str {
        "deployments"
    }

    fn sources(&self) -> Vec<ResourceKey> {
        // Pods matter to recreations, which wait for the last old one to be gone.
        vec![deployments(), replicasets(), pods()]
    }

    fn touched(&self, source: &ResourceKey, object: &Value) -> Vec<Key> {
        if *source == deployments() {
            return vec![Key::of(object)];
        }
        let ns = namespace(object);
        let owner = controller_of(object);
        let owned_by = |kind: &str| {
            let owner = owner.filter(|o| text(o, &["kind"]) == kind)?;
            Some(Key::new(ns, text(owner, &["name"])))
        };
        if *source == replicasets() {
            return owned_by("Deployment").into_iter().collect();
        }
        // Only the going of pods matters: everything else shows in the status of their set.
        let set = owned_by("ReplicaSet").filter(|_| !active(object));
        let set = set.and_then(|k| self.store.get(&replicasets(), k.namespace(), &k.name));
        let above = set.as_deref().and_then(controller_of);
        above
            .map(|o| Key::new(ns, text(o, &["name"])))
            .into_iter()
            .collect()
    }

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, ApiError> {
        self.store.exclusive(|| {
            let Some(deployment) = self.store.get(&deployments(), key.namespace(), &key.name)
            else {
                return Ok(None);
            };
            if !deleting(&deployment) {
                self.roll(&deployment)?;
            }
            self.report(key)
        })
    }
}

/// The sets of a deployment, oldest first, and which of them is for its present template.
struct Sets {
    all: Vec<Arc<Value>>,
    new: Option<usize>,
}

impl Sets {
    fn newest(&self) -> Option<&Arc<Value>> {
        self.all.get(self.new?)
    }

    fn old(&self) -> impl Iterator<Item = &Arc<Value>> {
        self.all
            .iter()
            .enumerate()
            .filter(|(i, _)| Some(*i) != self.new)
            .map(|(_, s)| s)
    }
}

fn sized(set: &Value) -> Set {
    Set {
        name: name(set).to_owned(),
        wanted: number(set, &["spec", "replicas"]),
        available: number(set, &["status", "availableReplicas"]),
    }
}

fn limits(deployment: &Value) -> Limits {
    let rolling = at(deployment, &["spec", "strategy", "rollingUpdate"]);
    let wanted = number(deployment, &["spec", "replicas"]);
    plan::limits(
        wanted,
        at(rolling, &["maxSurge"]),
        at(rolling, &["maxUnavailable"]),
    )
}

fn revision(obj: &Value) -> i64 {
    text(obj, &["metadata", "annotations", REVISION])
        .parse()
        .unwrap_or_default()
}

/// The template without the label that tells sets apart.
fn plain(template: &Value) -> Value {
    let mut template = template.clone();
    if let Some(labels) = template.pointer_mut("/metadata/labels") {
        remove(labels, HASH);
    }
    template
}

/// A short name for a template: FNV-1a over its JSON with sorted keys, in letters that cannot
/// spell anything.
fn hash(template: &Value, collisions: i64) -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut state = 0xcbf2_9ce4_8422_2325_u64;
    let mut feed = |text: &str| {
        for byte in text.bytes() {
            state = (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    sorted(template, &mut feed);
    feed(&collisions.to_string());
    let letter = |shift: u32| {
        let index = (state >> shift) % ALPHABET.len() as u64;
        char::from(ALPHABET[usize::try_from(index).unwrap_or_default()])
    };
    (0..10).map(|i| letter(i * 6)).collect()
}

fn sorted(value: &Value, feed: &mut impl FnMut(&str)) {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            for key in keys {
                feed(key);
                feed(":");
                sorted(&map[key], feed);
                feed(",");
            }
        }
        Value::Array(list) => {
            for item in list {
                sorted(item, feed);
                feed(";");
            }
        }
        other => feed(&other.to_string()),
    }
}

impl Deployments {
    /// One step of the rollout.
    fn roll(&self, deployment: &Value) -> Result<(), ApiError> {
        let paused = deployment["spec"]["paused"] == true;
        let mut sets = self.sets(deployment)?;
        if sets.new.is_none() && !paused {
            self.create(deployment, &sets)?;
            sets = self.sets(deployment)?;
        }
        if !paused {
            self.mark_newest(deployment, &sets)?;
        }
        let sizes = self.decide(deployment, &sets, paused);
        for (set, size) in sizes {
            self.resize(deployment, &set, size)?;
        }
        if !paused {
            self.forget(deployment, &sets)?;
        }
        Ok(())
    }

    /// Finds the sets of a deployment, and adopts those that match and nobody controls.
    fn sets(&self, deployment: &Value) -> Result<Sets, ApiError> {
        let wanted = at(deployment, &["spec", "selector"]);
        let mut all = Vec::new();
        for set in self
            .store
            .list(&replicasets(), Some(namespace(deployment)))
            .0
        {
            if controlled_by(&set, uid(deployment)) {
                all.push(set);
            } else if controller_of(&set).is_none()
                && !deleting(&set)
                && !deleting(deployment)
                && selector::matches(wanted, at(&set, &["metadata", "labels"]))
            {
                let adopt = |old: &Value| {
                    let mut new = old.clone();
                    let mut owners = items(old, &["metadata", "ownerReferences"]).to_vec();
                    owners.push(control(deployment));
                    new["metadata"]["ownerReferences"] = Value::Array(owners);
                    Ok(new)
                };
                let ns = Some(namespace(&set));
                all.push(self.store.update(&replicasets(), ns, name(&set), adopt)?);
            }
        }
        let age = |s: &Value| text(s, &["metadata", "creationTimestamp"]).to_owned();
        all.sort_by_key(|s| (revision(s), age(s), name(s).to_owned()));
        let template = plain(at(deployment, &["spec", "template"]));
        let new = all
            .iter()
            .position(|s| plain(at(s, &["spec", "template"])) == template);
        Ok(Sets { all, new })
    }

    /// Makes the set for the present template, at first as large as the rollout lets it be.
    fn create(&self, deployment: &Value, sets: &Sets) -> Result<(), ApiError> {
        let collisions = number(deployment, &["status", "collisionCount"]);
        let template = at(deployment, &["spec", "template"]);
        let hash = hash(template, collisions);
        let mut set = json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {"name": suffixed(name(deployment), &hash, 253), "generation": 1,
                "namespace": namespace(deployment), "ownerReferences": [control(deployment)],
                "labels": at(template, &["metadata", "labels"]),
                "annotations": annotations(deployment, newest_revision(sets) + 1)},
            "spec": {"replicas": 0, "selector": at(deployment, &["spec", "selector"]),
                     "template": template,
                     "minReadySeconds": number(deployment, &["spec", "minReadySeconds"])},
        });
        for place in ["/metadata", "/spec/template/metadata"] {
            if let Some(labels) = set.pointer_mut(place).and_then(|m| map_in(m, "labels")) {
                labels.insert(HASH.to_owned(), json!(hash));
            }
        }
        if let Some(labels) = set
            .pointer_mut("/spec/selector")
            .and_then(|s| map_in(s, "matchLabels"))
        {
            labels.insert(HASH.to_owned(), json!(hash));
        }
        match self.store.create(&replicasets(), set) {
            Err(taken) if taken.reason == "AlreadyExists" => {
                // The name belongs to another template: the next try takes another hash.
                let count = |old: &Value| {
                    let mut new = old.clone();
                    map_in(&mut new, "status");
                    new["status"]["collisionCount"] = json!(collisions + 1);
                    Ok(new)
                };
                let ns = Some(namespace(deployment));
                self.store
                    .update(&deployments(), ns, name(deployment), count)?;
                Err(taken)
            }
            other => other.map(drop),
        }
    }

    /// Numbers the present set last, also when an older one became present again, and tells the
    /// deployment.
    fn mark_newest(&self, deployment: &Value, sets: &Sets) -> Result<(), ApiError> {
        let Some(new) = sets.newest() else {
            return Ok(());
        };
        let before = sets.old().map(|s| revision(s)).max().unwrap_or_default();
        let number = if revision(new) > before {
            revision(new)
        } else {
            before + 1
        };
        let ns = Some(namespace(deployment));
        self.store.update(&replicasets(), ns, name(new), |old| {
            let mut set = old.clone();
            map_in(&mut set["metadata"], "annotations");
            let wanted = annotations(deployment, number);
            for (key, value) in wanted.as_object().into_iter().flatten() {
                set["metadata"]["annotations"][key] = value.clone();
            }
            set["spec"]["minReadySeconds"] = deployment["spec"]["minReadySeconds"].clone();
            if set["spec"]["minReadySeconds"].is_null() {
                remove(&mut set["spec"], "minReadySeconds");
            }
            Ok(set)
        })?;
        let tell = |old: &Value| {
            let mut new = old.clone();
            map_in(&mut new["metadata"], "annotations");
            new["metadata"]["annotations"][REVISION] = json!(number.to_string());
            Ok(new)
        };
        self.store
            .update(&deployments(), ns, name(deployment), tell)
            .map(drop)
    }

    fn decide(&self, deployment: &Value, sets: &Sets, paused: bool) -> Sizes {
        let limits = limits(deployment);
        let old: Vec<Set> = sets.old().map(|s| sized(s)).collect();
        let Some(new) = sets.newest().map(|s| sized(s)) else {
            return Sizes::new();
        };
        if paused {
            // A paused deployment rolls nothing, but the size of a lone set is no rollout.
            let alone = old.iter().all(|s| s.wanted == 0);
            let resize = alone && new.wanted != limits.wanted;
            return resize
                .then_some((new.name, limits.wanted))
                .into_iter()
                .collect();
        }
        if deployment["spec"]["strategy"]["type"] == "Recreate" {
            return plan::recreate(limits, &new, &old, self.old_pods_left(deployment, sets));
        }
        plan::rolling(limits, &new, &old)
    }

    /// Whether pods of old sets still run, be it only to end.
    fn old_pods_left(&self, deployment: &Value, sets: &Sets) -> bool {
        let all = self.store.list(&pods(), Some(namespace(deployment))).0;
        all.iter()
            .filter(|p| !finished(p))
            .any(|p| sets.old().any(|s| controlled_by(p, uid(s))))
    }

    fn resize(&self, deployment: &Value, set: &str, size: i64) -> Result<(), ApiError> {
        let ns = Some(namespace(deployment));
        let mut was = 0;
        self.store.update(&replicasets(), ns, set, |old| {
            was = number(old, &["spec", "replicas"]);
            let mut new = old.clone();
            new["spec"]["replicas"] = json!(size);
            new["metadata"]["generation"] = json!(number(old, &["metadata", "generation"]) + 1);
            Ok(new)
        })?;
        let way = if size > was { "up" } else { "down" };
        let message = format!("Scaled {way} replica set {set} from {was} to {size}");
        self.recorder
            .note(deployment, "Normal", "ScalingReplicaSet", &message);
        Ok(())
    }

    /// Deletes the oldest empty sets beyond what the history keeps.
    fn forget(&self, deployment: &Value, sets: &Sets) -> Result<(), ApiError> {
        let Some(keep) = at(deployment, &["spec", "revisionHistoryLimit"]).as_u64() else {
            return Ok(());
        };
        let empty = |s: &&Arc<Value>| {
            let nothing = |path: &[&str]| number(s, path) == 0;
            nothing(&["spec", "replicas"]) && nothing(&["status", "replicas"]) && !deleting(s)
        };
        let candidates: Vec<&Arc<Value>> = sets.old().filter(empty).collect();
        let surplus = candidates
            .len()
            .saturating_sub(usize::try_from(keep).unwrap_or(usize::MAX));
        for set in candidates.into_iter().take(surplus) {
            let ns = Some(namespace(deployment));
            self.store
                .delete(&replicasets(), ns, name(set), &DeleteOptions::default())?;
        }
        Ok(())
    }

    /// Writes the status from the sets as they are now.
    fn report(&self, key: &Key) -> Result<Option<Duration>, ApiError> {
        let mut again = None;
        let done = self
            .store
            .update(&deployments(), key.namespace(), &key.name, |deployment| {
                let sets = self.sets(deployment)?;
                let all: Vec<&Value> = sets.all.iter().map(AsRef::as_ref).collect();
                let new = sets.newest().map(AsRef::as_ref);
                let (status, next) =
                    status::status(deployment, limits(deployment), new, &all, Utc::now());
                again = next;
                let mut out = deployment.clone();
                out["status"] = status;
                Ok(out)
            });
        match done {
            Err(fault) if fault.code != 404 => Err(fault),
            _ => Ok(again),
        }
    }
}

fn newest_revision(sets: &Sets) -> i64 {
    sets.all
        .iter()
        .map(|s| revision(s))
        .max()
        .unwrap_or_default()
}

/// Annotations of the set: those of the deployment, and its number.
fn annotations(deployment: &Value, number: i64) -> Value {
    let own = at(deployment, &["metadata", "annotations"]).as_object();
    let mut out = own.cloned().unwrap_or_default();
    out.retain(|key, _| !OWN_ANNOTATIONS.contains(&key.as_str()));
    out.insert(REVISION.to_owned(), json!(number.to_string()));
    Value::Object(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_has_one_name() {
        let a = json!({"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": {"x": [1, 2]}});
        let b: Value =
            serde_json::from_str(r#"{"spec":{"x":[1,2]},"metadata":{"labels":{"b":"2","a":"1"}}}"#)
                .unwrap();
        assert_eq!(hash(&a, 0), hash(&b, 0));
        assert_ne!(hash(&a, 0), hash(&a, 1));
        assert_ne!(hash(&a, 0), hash(&json!({}), 0));
        assert_eq!(hash(&a, 0).len(), 10);
    }

    #[test]
    fn the_hash_label_is_no_difference() {
        let with = json!({"metadata": {"labels": {"a": "1", HASH: "x"}}});
        assert_eq!(plain(&with), json!({"metadata": {"labels": {"a": "1"}}}));
    }
}
