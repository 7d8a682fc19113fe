//! Garbage collection: objects go with the owners they name. [`graph`] remembers who owns whom;
//! here changes of all kinds are followed and what they imply is written.
//!
//! - An object all of whose owners are gone is deleted; references to owners that are gone are
//!   removed from one that keeps another.
//! - An owner with finalizer `foregroundDeletion` waits until those that block it are deleted.
//! - An owner with finalizer `orphan` waits until its dependents have let go of it.

mod graph;

use crate::apiserver::resources::Registry;
use crate::schema::json::{at, deleting, items, remove, text, uid};
use crate::status::ApiError;
use crate::store::{DeleteOptions, EventKind, Propagation, ResourceKey, Store, WatchStream};
use graph::{Graph, Place};
use mesh_daemon::Shutdown;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";
/// After a failed write.
const RETRY: Duration = Duration::from_millis(200);

/// Collects until the shutdown.
pub(super) async fn run(store: Store, registry: Registry, shutdown: Shutdown) {
    let mut collector = Collector {
        store: store.clone(),
        registry: registry.clone(),
        streams: BTreeMap::new(),
        graph: Graph::default(),
        queue: BTreeSet::new(),
    };
    let mut any = store.changed();
    let mut kinds = registry.changed();
    kinds.mark_changed();
    loop {
        any.mark_unchanged();
        if kinds.has_changed().unwrap_or(false) {
            kinds.mark_unchanged();
            collector.follow_kinds();
        }
        collector.read();
        let failed = collector.work();
        tokio::select! {
            () = shutdown.requested() => return,
            _ = any.changed() => {}
            _ = kinds.changed() => kinds.mark_changed(),
            () = tokio::time::sleep(RETRY), if failed => {}
        }
    }
}

struct Collector {
    store: Store,
    registry: Registry,
    streams: BTreeMap<ResourceKey, WatchStream>,
    graph: Graph,
    /// Objects to look at.
    queue: BTreeSet<Place>,
}

impl Collector {
    /// Follows the kinds that are served now.
    fn follow_kinds(&mut self) {
        let served: BTreeSet<ResourceKey> = self
            .registry
            .all()
            .iter()
            .filter(|d| d.verbs.iter().any(|v| v == "delete"))
            .map(|d| d.key())
            .collect();
        for key in &served {
            if !self.streams.contains_key(key) {
                self.follow(key.clone());
            }
        }
        // The last deletions of a kind that is served no more are still to be read.
        self.read();
        self.streams.retain(|key, _| served.contains(key));
    }

    fn follow(&mut self, key: ResourceKey) {
        match self.store.watch(&key, None) {
            Ok(stream) => {
                self.streams.insert(key, stream);
            }
            Err(fault) => tracing::warn!(%key, %fault, "cannot be followed"),
        }
    }

    /// Reads every change there is.
    fn read(&mut self) {
        let keys: Vec<ResourceKey> = self.streams.keys().cloned().collect();
        for key in keys {
            while let Some(read) = self.streams.get_mut(&key).map(WatchStream::try_next) {
                match read {
                    Ok(Some(event)) => self.apply(&key, event.kind, &event.object),
                    Ok(None) => break,
                    Err(behind) => {
                        tracing::debug!(%key, %behind, "watch starts anew");
                        self.streams.remove(&key);
                        self.follow(key.clone());
                        // Deletions were missed: what is not there any more is gone.
                        let (there, _) = self.store.list(&key, None);
                        let gone = self.graph.missing(&key, &there);
                        self.queue.extend(gone);
                    }
                }
            }
        }
    }

    fn apply(&mut self, key: &ResourceKey, kind: EventKind, object: &Value) {
        let place = Place::of(key, object);
        if kind == EventKind::Deleted {
            self.queue.extend(self.graph.delete(&place, uid(object)));
        } else {
            self.graph.apply(&place, object);
            let owned = !items(object, &["metadata", "ownerReferences"]).is_empty();
            if owned || deleting(object) {
                self.queue.insert(place);
            }
        }
    }

    /// Works on everything queued; whether something failed and is queued again.
    fn work(&mut self) -> bool {
        let mut failed = BTreeSet::new();
        while let Some(place) = self.queue.pop_first() {
            if let Err(fault) = self.settle(&place) {
                if !matches!(fault.code, 404 | 409) {
                    tracing::warn!(?place, %fault, "not collected yet");
                }
                failed.insert(place);
            }
        }
        self.queue = failed;
        !self.queue.is_empty()
    }

    fn settle(&self, place: &Place) -> Result<(), ApiError> {
        let Some(object) = self.store.get(&place.kind, place.namespace(), &place.name) else {
            return Ok(());
        };
        if deleting(&object) {
            let held = |by: &str| {
                items(&object, &["metadata", "finalizers"])
                    .iter()
                    .any(|f| f == by)
            };
            if held(ORPHAN) {
                return self.orphan(place, &object);
            }
            if held(FOREGROUND) {
                return self.foreground(place, &object);
            }
            return Ok(());
        }
        self.keep_or_delete(place, &object)
    }

    /// An object goes when all its owners have gone.
    fn keep_or_delete(&self, place: &Place, object: &Value) -> Result<(), ApiError> {
        let owners = items(object, &["metadata", "ownerReferences"]);
        let (mut alive, mut gone) = (0, Vec::new());
        for owner in owners {
            match self.owner(place, owner) {
                Owner::Gone => gone.push(text(owner, &["uid"])),
                Owner::There | Owner::Unknown => alive += 1,
            }
        }
        if gone.is_empty() {
            return Ok(());
        }
        if alive == 0 {
            return self.delete(place, object, Propagation::Background);
        }
        self.store
            .update(&place.kind, place.namespace(), &place.name, |old| {
                Ok(without_owners(old, |o| gone.contains(&text(o, &["uid"]))))
            })
            .map(drop)
    }

    /// Whether an owner exists. Kinds that are not served may belong to somebody who knows more.
    fn owner(&self, place: &Place, owner: &Value) -> Owner {
        let api_version = text(owner, &["apiVersion"]);
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        let Some(def) = self.registry.by_kind(group, text(owner, &["kind"])) else {
            return Owner::Unknown;
        };
        let ns = if def.namespaced {
            place.namespace()
        } else {
            None
        };
        let found = self.store.get(&def.key(), ns, text(owner, &["name"]));
        match found {
            Some(found) if uid(&found) == text(owner, &["uid"]) => Owner::There,
            _ => Owner::Gone,
        }
    }

    /// Deletes the dependents of an owner that waits for them; lets it go when none blocks it.
    fn foreground(&self, place: &Place, owner: &Value) -> Result<(), ApiError> {
        let mut blocked = false;
        for (at_place, dependent) in self.dependents(owner) {
            let blocks = items(&dependent, &["metadata", "ownerReferences"])
                .iter()
                .any(|o| text(o, &["uid"]) == uid(owner) && o["blockOwnerDeletion"] == true);
            if !deleting(&dependent) {
                self.delete(&at_place, &dependent, Propagation::Foreground)?;
            }
            let there = self
                .store
                .get(&at_place.kind, at_place.namespace(), &at_place.name);
            blocked |= blocks && there.is_some_and(|d| uid(&d) == uid(&dependent));
        }
        if blocked {
            Ok(())
        } else {
            self.release(place, FOREGROUND)
        }
    }

    /// Makes the dependents of an owner nobody's, then lets it go.
    fn orphan(&self, place: &Place, owner: &Value) -> Result<(), ApiError> {
        for (at_place, _) in self.dependents(owner) {
            self.store.update(
                &at_place.kind,
                at_place.namespace(),
                &at_place.name,
                |old| Ok(without_owners(old, |o| text(o, &["uid"]) == uid(owner))),
            )?;
        }
        self.release(place, ORPHAN)
    }

    fn dependents(&self, owner: &Value) -> Vec<(Place, Arc<Value>)> {
        let places = self.graph.dependents(uid(owner));
        let found = places.into_iter().filter_map(|place| {
            let object = self
                .store
                .get(&place.kind, place.namespace(), &place.name)?;
            Some((place, object))
        });
        found.collect()
    }

    fn release(&self, place: &Place, finalizer: &str) -> Result<(), ApiError> {
        self.store
            .update(&place.kind, place.namespace(), &place.name, |old| {
                let mut new = old.clone();
                let mut kept = items(old, &["metadata", "finalizers"]).to_vec();
                kept.retain(|f| f != finalizer);
                new["metadata"]["finalizers"] = Value::Array(kept);
                Ok(new)
            })
            .map(drop)
    }

    fn delete(&self, place: &Place, object: &Value, how: Propagation) -> Result<(), ApiError> {
        let options = DeleteOptions {
            uid: Some(uid(object).to_owned()),
            propagation: Some(how),
            ..DeleteOptions::default()
        };
        let gone = self
            .store
            .delete(&place.kind, place.namespace(), &place.name, &options);
        match gone {
            Err(fault) if fault.code != 404 => Err(fault),
            _ => Ok(()),
        }
    }
}

enum Owner {
    There,
    Gone,
    /// Of a kind that is not served.
    Unknown,
}

fn without_owners(object: &Value, which: impl Fn(&Value) -> bool) -> Value {
    let mut new = object.clone();
    let owners = at(object, &["metadata", "ownerReferences"]);
    let kept: Vec<&Value> = owners
        .as_array()
        .into_iter()
        .flatten()
        .filter(|o| !which(o))
        .collect();
    if kept.is_empty() {
        remove(&mut new["metadata"], "ownerReferences");
    } else {
        new["metadata"]["ownerReferences"] = json!(kept);
    }
    new
}
