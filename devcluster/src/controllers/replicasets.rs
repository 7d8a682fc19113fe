//! ReplicaSets: as many pods as wanted. Pods are adopted when they match and nobody controls
//! them, and let go when they match no more.

use super::Make;
use super::driver::Controller;
use super::events::Recorder;
use super::objects::{
    Key, active, condition, control, controlled_by, controller_of, number, pods, ready,
    ready_since, replicasets,
};
use crate::schema::json::{at, deleting, items, keep, map_in, name, namespace, text, uid};
use crate::schema::selector;
use crate::status::ApiError;
use crate::store::{DeleteOptions, ResourceKey, Store, now};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// Pods made or deleted in one step, so that a large set does not starve others.
const BURST: usize = 500;

/// Keeps pods.
pub(super) struct ReplicaSets {
    pub(super) store: Store,
    pub(super) make: Arc<dyn Make>,
    pub(super) recorder: Recorder,
}

/// Which pods to delete first: those that serve least, then the youngest.
fn expendable(pod: &Value) -> (bool, u8, bool, std::cmp::Reverse<String>) {
    let bound = !text(pod, &["spec", "nodeName"]).is_empty();
    let phase = match text(pod, &["status", "phase"]) {
        "Running" => 2,
        "Pending" | "" => 0,
        _ => 1,
    };
    let age = text(pod, &["metadata", "creationTimestamp"]).to_owned();
    (bound, phase, ready(pod), std::cmp::Reverse(age))
}

/// Names of `surplus` pods to delete.
fn victims(pods: &[Arc<Value>], surplus: usize) -> Vec<String> {
    let mut ranked: Vec<&Arc<Value>> = pods.iter().collect();
    ranked.sort_by_key(|p| expendable(p));
    ranked
        .into_iter()
        .take(surplus)
        .map(|p| name(p).to_owned())
        .collect()
}

/// How many pods have been ready for long enough, and when the next one will have been.
fn available(pods: &[Arc<Value>], min_ready: i64, now: DateTime<Utc>) -> (i64, Option<Duration>) {
    let (mut count, mut next) = (0, None::<Duration>);
    for pod in pods.iter().filter(|p| ready(p)) {
        let since = ready_since(pod).unwrap_or(now);
        let due = since + chrono::Duration::seconds(min_ready);
        match (due - now).to_std() {
            Ok(wait) if min_ready > 0 && !wait.is_zero() => {
                next = Some(next.map_or(wait, |n| n.min(wait)));
            }
            _ => count += 1,
        }
    }
    (count, next)
}

impl Controller for ReplicaSets {
    fn name(&self) -> &'static str {
        "replicasets"
    }

    fn sources(&self) -> Vec<ResourceKey> {
        let accounts = ResourceKey::core("serviceaccounts");
        vec![replicasets(), pods(), accounts]
    }

    fn touched(&self, source: &ResourceKey, object: &Value) -> Vec<Key> {
        if *source == replicasets() {
            return vec![Key::of(object)];
        }
        let ns = namespace(object);
        let (all, _) = self.store.list(&replicasets(), Some(ns));
        if *source != pods() {
            // A new account may be what pods could not be made for.
            let uses = |rs: &&Arc<Value>| {
                text(rs, &["spec", "template", "spec", "serviceAccountName"]) == name(object)
            };
            return all.iter().filter(uses).map(|rs| Key::of(rs)).collect();
        }
        if let Some(owner) = controller_of(object) {
            let ours = text(owner, &["kind"]) == "ReplicaSet";
            return ours
                .then(|| Key::new(ns, text(owner, &["name"])))
                .into_iter()
                .collect();
        }
        let labels = at(object, &["metadata", "labels"]);
        let matches = |rs: &&Arc<Value>| selector::matches(at(rs, &["spec", "selector"]), labels);
        all.iter().filter(matches).map(|rs| Key::of(rs)).collect()
    }

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, ApiError> {
        let Some((set, missing)) = self.store.exclusive(|| self.trim(key))? else {
            return Ok(None);
        };
        let mut outcome = Ok(());
        for _ in 0..missing {
            outcome = self.create(&set).await;
            if outcome.is_err() {
                break;
            }
        }
        let again = self.report(key, outcome.as_ref().err())?;
        outcome.map(|()| again)
    }
}

impl ReplicaSets {
    /// The pods of a set, after adopting and letting go.
    fn claim(&self, set: &Value) -> Result<Vec<Arc<Value>>, ApiError> {
        let wanted = at(set, &["spec", "selector"]);
        let mut own = Vec::new();
        for pod in self.store.list(&pods(), Some(namespace(set))).0 {
            let fits = selector::matches(wanted, at(&pod, &["metadata", "labels"]));
            let ours = controlled_by(&pod, uid(set));
            let free = controller_of(&pod).is_none();
            if ours && fits {
                own.push(pod);
            } else if ours && !deleting(&pod) {
                self.set_owners(&pod, |owners| {
                    owners.retain(|o| text(o, &["uid"]) != uid(set))
                })?;
            } else if fits && free && active(&pod) && !deleting(set) {
                own.push(self.set_owners(&pod, |owners| owners.push(control(set)))?);
            }
        }
        Ok(own)
    }

    fn set_owners(
        &self,
        pod: &Value,
        change: impl FnOnce(&mut Vec<Value>),
    ) -> Result<Arc<Value>, ApiError> {
        self.store
            .update(&pods(), Some(namespace(pod)), name(pod), |old| {
                let mut new = old.clone();
                let mut owners = items(old, &["metadata", "ownerReferences"]).to_vec();
                change(&mut owners);
                new["metadata"]["ownerReferences"] = Value::Array(owners);
                Ok(new)
            })
    }

    /// Claims the pods of a set and deletes those too many; the set, and how many are missing.
    fn trim(&self, key: &Key) -> Result<Option<(Arc<Value>, usize)>, ApiError> {
        let Some(set) = self.store.get(&replicasets(), key.namespace(), &key.name) else {
            return Ok(None);
        };
        let own = self.claim(&set)?;
        let own: Vec<Arc<Value>> = own.into_iter().filter(|p| active(p)).collect();
        if deleting(&set) {
            return Ok(Some((set, 0)));
        }
        let wanted = usize::try_from(number(&set, &["spec", "replicas"])).unwrap_or_default();
        for victim in victims(&own, own.len().saturating_sub(wanted).min(BURST)) {
            let ns = namespace(&set);
            self.store
                .delete(&pods(), Some(ns), &victim, &DeleteOptions::default())?;
            let message = format!("Deleted pod: {victim}");
            self.recorder
                .note(&set, "Normal", "SuccessfulDelete", &message);
        }
        Ok(Some((set, wanted.saturating_sub(own.len()).min(BURST))))
    }

    async fn create(&self, set: &Value) -> Result<(), ApiError> {
        let template = at(set, &["spec", "template"]);
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod", "spec": at(template, &["spec"]),
            "metadata": {"generateName": format!("{}-", name(set)),
                         "namespace": namespace(set), "ownerReferences": [control(set)]},
        });
        for field in ["labels", "annotations", "finalizers"] {
            keep(at(template, &["metadata"]), &mut pod["metadata"], field);
        }
        let made = self
            .make
            .pod("replicaset-controller", namespace(set), pod)
            .await;
        match made {
            Ok(made) => {
                let message = format!("Created pod: {}", name(&made));
                self.recorder
                    .note(set, "Normal", "SuccessfulCreate", &message);
                Ok(())
            }
            Err(fault) => {
                let message = format!("Error creating: {fault}");
                self.recorder.note(set, "Warning", "FailedCreate", &message);
                Err(fault)
            }
        }
    }

    /// Writes the status from the pods as they are now; answers when it will change by itself.
    fn report(&self, key: &Key, fault: Option<&ApiError>) -> Result<Option<Duration>, ApiError> {
        let mut again = None;
        let done = self
            .store
            .update(&replicasets(), key.namespace(), &key.name, |set| {
                let mut own = self.store.list(&pods(), Some(&key.ns)).0;
                own.retain(|p| controlled_by(p, uid(set)));
                let leaving = own.iter().filter(|p| deleting(p)).count();
                own.retain(|p| active(p));
                let (status, next) = status(set, &own, leaving, fault, Utc::now());
                again = next;
                let mut new = set.clone();
                new["status"] = status;
                Ok(new)
            });
        match done {
            Err(fault) if fault.code != 404 => Err(fault),
            _ => Ok(again),
        }
    }
}

/// The status of a set with these pods.
fn status(
    set: &Value,
    own: &[Arc<Value>],
    leaving: usize,
    fault: Option<&ApiError>,
    at_time: DateTime<Utc>,
) -> (Value, Option<Duration>) {
    let template = at(set, &["spec", "template", "metadata", "labels"]);
    let template = template.as_object().cloned().unwrap_or_default();
    let labeled = |pod: &&Arc<Value>| {
        let labels = at(pod, &["metadata", "labels"]);
        template.iter().all(|(k, v)| labels.get(k) == Some(v))
    };
    let (available, next) = available(own, number(set, &["spec", "minReadySeconds"]), at_time);
    let mut status = json!({
        "replicas": own.len(), "terminatingReplicas": leaving,
        "observedGeneration": number(set, &["metadata", "generation"]),
    });
    let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let counts = [
        (
            "fullyLabeledReplicas",
            count(own.iter().filter(labeled).count()),
        ),
        (
            "readyReplicas",
            count(own.iter().filter(|p| ready(p)).count()),
        ),
        ("availableReplicas", available),
    ];
    for (field, count) in counts.into_iter().filter(|(_, count)| *count != 0) {
        status[field] = json!(count);
    }
    if let Some(fault) = fault {
        let message = fault.to_string();
        let was = condition(set, "ReplicaFailure").filter(|c| c["message"] == message);
        let since = was.map_or_else(|| json!(now()), |c| c["lastTransitionTime"].clone());
        map_in(&mut status, "conditions");
        status["conditions"] = json!([{"type": "ReplicaFailure", "status": "True",
            "reason": "FailedCreate", "message": message, "lastTransitionTime": since}]);
    }
    (status, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, node: &str, is_ready: bool, age: &str) -> Arc<Value> {
        let status = if is_ready { "True" } else { "False" };
        Arc::new(json!({"metadata": {"name": name, "creationTimestamp": age},
            "spec": {"nodeName": node},
            "status": {"phase": if node.is_empty() { "Pending" } else { "Running" },
                "conditions": [{"type": "Ready", "status": status,
                                "lastTransitionTime": "2026-01-01T00:00:00Z"}]}}))
    }

    #[test]
    fn those_that_serve_least_go_first() {
        let pods = [
            pod("ready-old", "n", true, "2026-01-01T00:00:00Z"),
            pod("ready-young", "n", true, "2026-01-02T00:00:00Z"),
            pod("unready", "n", false, "2026-01-01T00:00:00Z"),
            pod("unbound", "", false, "2026-01-01T00:00:00Z"),
        ];
        assert_eq!(victims(&pods, 3), ["unbound", "unready", "ready-young"]);
        assert!(victims(&pods, 0).is_empty());
    }

    #[test]
    fn a_pod_is_available_once_it_was_ready_for_long_enough() {
        let pods = [pod("a", "n", true, ""), pod("b", "n", false, "")];
        let at = |s: &str| super::super::objects::time(&json!(s)).unwrap();
        let young = available(&pods, 10, at("2026-01-01T00:00:04Z"));
        assert_eq!(young, (0, Some(Duration::from_secs(6))));
        assert_eq!(available(&pods, 10, at("2026-01-01T00:00:10Z")), (1, None));
        assert_eq!(available(&pods, 0, at("2026-01-01T00:00:00Z")), (1, None));
    }
}
