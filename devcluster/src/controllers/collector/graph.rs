//! Who owns whom, as plain data: apply, delete, and what was missed.

use crate::schema::json::{items, name, namespace, text, uid};
use crate::store::ResourceKey;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Where an object is stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) kind: ResourceKey,
    pub(super) ns: String,
    pub(super) name: String,
}

impl Place {
    pub(super) fn of(kind: &ResourceKey, object: &Value) -> Self {
        Self {
            kind: kind.clone(),
            ns: namespace(object).to_owned(),
            name: name(object).to_owned(),
        }
    }

    pub(super) fn namespace(&self) -> Option<&str> {
        (!self.ns.is_empty()).then_some(self.ns.as_str())
    }
}

/// The objects that name owners, and by whom each owner is named.
#[derive(Default)]
pub(super) struct Graph {
    /// Uid of every object, so that its going is noticed even when the watch missed it.
    uids: BTreeMap<Place, String>,
    owners: HashMap<Place, Vec<String>>,
    dependents: HashMap<String, BTreeSet<Place>>,
}

impl Graph {
    /// An object as it is now.
    pub(super) fn apply(&mut self, place: &Place, object: &Value) {
        self.forget(place);
        self.uids.insert(place.clone(), uid(object).to_owned());
        let owners: Vec<String> = items(object, &["metadata", "ownerReferences"])
            .iter()
            .map(|o| text(o, &["uid"]).to_owned())
            .collect();
        for owner in &owners {
            self.dependents
                .entry(owner.clone())
                .or_default()
                .insert(place.clone());
        }
        if !owners.is_empty() {
            self.owners.insert(place.clone(), owners);
        }
    }

    /// An object that is gone. Answers whom that concerns: its dependents, and the owners that
    /// may have waited for it.
    pub(super) fn delete(&mut self, place: &Place, uid: &str) -> Vec<Place> {
        let owners = self.owners.get(place).cloned().unwrap_or_default();
        let mut concerned = self.dependents(uid);
        let waiting = self.uids.iter().filter(|(_, uid)| owners.contains(uid));
        concerned.extend(waiting.map(|(place, _)| place.clone()));
        self.forget(place);
        concerned
    }

    /// Forgets the objects of a kind that are not there any more; answers whom that concerns.
    pub(super) fn missing(&mut self, kind: &ResourceKey, there: &[Arc<Value>]) -> Vec<Place> {
        let there: BTreeSet<&str> = there.iter().map(|o| uid(o)).collect();
        let gone: Vec<(Place, String)> = self
            .uids
            .iter()
            .filter(|(place, uid)| place.kind == *kind && !there.contains(uid.as_str()))
            .map(|(place, uid)| (place.clone(), uid.clone()))
            .collect();
        gone.iter()
            .flat_map(|(place, uid)| self.delete(place, uid))
            .collect()
    }

    /// Who names an owner.
    pub(super) fn dependents(&self, uid: &str) -> Vec<Place> {
        self.dependents
            .get(uid)
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }

    fn forget(&mut self, place: &Place) {
        self.uids.remove(place);
        for owner in self.owners.remove(place).unwrap_or_default() {
            if let Some(of_owner) = self.dependents.get_mut(&owner) {
                of_owner.remove(place);
                if of_owner.is_empty() {
                    self.dependents.remove(&owner);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn place(name: &str) -> Place {
        Place {
            kind: ResourceKey::core("pods"),
            ns: "a".into(),
            name: name.into(),
        }
    }

    fn object(name: &str, owners: &[&str]) -> Value {
        let owners: Vec<Value> = owners.iter().map(|o| json!({"uid": o})).collect();
        json!({"metadata": {"name": name, "namespace": "a", "uid": format!("u-{name}"),
                            "ownerReferences": owners}})
    }

    #[test]
    fn the_going_of_an_object_concerns_both_sides() {
        let mut graph = Graph::default();
        graph.apply(&place("owner"), &object("owner", &[]));
        graph.apply(&place("child"), &object("child", &["u-owner"]));
        graph.apply(&place("grandchild"), &object("grandchild", &["u-child"]));
        let concerned = graph.delete(&place("child"), "u-child");
        assert_eq!(concerned, [place("grandchild"), place("owner")]);
        assert!(graph.dependents("u-owner").is_empty());
    }

    #[test]
    fn an_owner_no_longer_named_has_no_dependents() {
        let mut graph = Graph::default();
        graph.apply(&place("child"), &object("child", &["x"]));
        assert_eq!(graph.dependents("x"), [place("child")]);
        graph.apply(&place("child"), &object("child", &[]));
        assert!(graph.dependents("x").is_empty());
    }

    #[test]
    fn missed_deletions_are_made_up_for() {
        let mut graph = Graph::default();
        graph.apply(&place("owner"), &object("owner", &[]));
        graph.apply(&place("child"), &object("child", &["u-owner"]));
        let there = [Arc::new(object("child", &["u-owner"]))];
        assert_eq!(
            graph.missing(&ResourceKey::core("pods"), &there),
            [place("child")]
        );
    }
}
