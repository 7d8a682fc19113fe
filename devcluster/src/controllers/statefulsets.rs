//! StatefulSets: pods with names of their own, made in order and taken away in the opposite one.
//!
//! There is no storage in this cluster: a set that claims volumes is told so by an event. Of the
//! revisions only the newest is kept, so a pod below a partition that dies comes back as the
//! newest, too.

use super::Make;
use super::driver::Controller;
use super::events::Recorder;
use super::objects::{
    Key, control, controlled_by, controller_of, finished, number, pods, ready, ready_since,
    statefulsets,
};
use crate::schema::json::{at, deleting, items, keep, name, namespace, text, uid};
use crate::status::ApiError;
use crate::store::{DeleteOptions, ResourceKey, Store};
use chrono::Utc;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

const REVISION: &str = "controller-revision-hash";

/// Keeps pods.
pub(super) struct StatefulSets {
    pub(super) store: Store,
    pub(super) make: Arc<dyn Make>,
    pub(super) recorder: Recorder,
}

/// The next thing to do for a set.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Create(i64),
    Delete(String),
}

/// What a set asks for.
struct Wanted<'a> {
    first: i64,
    replicas: i64,
    parallel: bool,
    /// Pods from this ordinal on are replaced when they are of another revision.
    partition: Option<i64>,
    revision: &'a str,
}

impl<'a> Wanted<'a> {
    fn of(set: &Value, revision: &'a str) -> Self {
        let strategy = at(set, &["spec", "updateStrategy"]);
        let partition = number(strategy, &["rollingUpdate", "partition"]);
        Self {
            first: number(set, &["spec", "ordinals", "start"]),
            replicas: number(set, &["spec", "replicas"]),
            parallel: text(set, &["spec", "podManagementPolicy"]) == "Parallel",
            partition: (text(strategy, &["type"]) != "OnDelete").then_some(partition),
            revision,
        }
    }

    fn wants(&self, ordinal: i64) -> bool {
        (self.first..self.first + self.replicas).contains(&ordinal)
    }
}

fn healthy(pod: &Value) -> bool {
    ready(pod) && !deleting(pod)
}

fn revision_of(pod: &Value) -> &str {
    text(pod, &["metadata", "labels", REVISION])
}

/// What to do now; one thing at a time unless the set is parallel.
fn plan(wanted: &Wanted<'_>, own: &BTreeMap<i64, Arc<Value>>) -> Vec<Step> {
    let mut steps = Vec::new();
    for ordinal in wanted.first..wanted.first + wanted.replicas {
        match own.get(&ordinal) {
            None => steps.push(Step::Create(ordinal)),
            Some(pod) if finished(pod) && !deleting(pod) => {
                steps.push(Step::Delete(name(pod).to_owned()));
            }
            Some(pod) if healthy(pod) || wanted.parallel => continue,
            Some(_) => {}
        }
        if !wanted.parallel {
            return steps;
        }
    }
    for (_, pod) in own.iter().rev().filter(|(n, _)| !wanted.wants(**n)) {
        if !deleting(pod) {
            steps.push(Step::Delete(name(pod).to_owned()));
        }
        if !wanted.parallel {
            return steps;
        }
    }
    if steps.is_empty() {
        steps.extend(replace(wanted, own));
    }
    steps
}

/// The pod to replace by one of the newest revision: from the last on, once those after it serve.
fn replace(wanted: &Wanted<'_>, own: &BTreeMap<i64, Arc<Value>>) -> Option<Step> {
    let partition = wanted.partition?;
    for (_, pod) in own.range(partition..).rev() {
        if revision_of(pod) != wanted.revision && !deleting(pod) {
            return Some(Step::Delete(name(pod).to_owned()));
        }
        if !healthy(pod) {
            return None;
        }
    }
    None
}

/// The revision a template makes.
fn revision(set: &Value) -> String {
    let mut hasher = DefaultHasher::new();
    at(set, &["spec", "template"]).to_string().hash(&mut hasher);
    format!("{}-{:x}", name(set), hasher.finish() & 0xff_ffff_ffff)
}

impl Controller for StatefulSets {
    fn name(&self) -> &'static str {
        "statefulsets"
    }

    fn sources(&self) -> Vec<ResourceKey> {
        vec![statefulsets(), pods()]
    }

    fn touched(&self, source: &ResourceKey, object: &Value) -> Vec<Key> {
        if *source == statefulsets() {
            return vec![Key::of(object)];
        }
        let owner = controller_of(object).filter(|o| text(o, &["kind"]) == "StatefulSet");
        let key = |owner: &Value| Key::new(namespace(object), text(owner, &["name"]));
        owner.map(key).into_iter().collect()
    }

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, ApiError> {
        let Some(set) = self.store.get(&statefulsets(), key.namespace(), &key.name) else {
            return Ok(None);
        };
        let newest = revision(&set);
        let mut outcome = Ok(());
        if !deleting(&set) {
            let own = self.store.exclusive(|| self.own(&set));
            for step in plan(&Wanted::of(&set, &newest), &own) {
                outcome = self.take(&set, &step, &newest).await;
                if outcome.is_err() {
                    break;
                }
            }
        }
        self.report(key, &newest)?;
        outcome.map(|()| None)
    }
}

impl StatefulSets {
    /// The pods of a set by their ordinals.
    fn own(&self, set: &Value) -> BTreeMap<i64, Arc<Value>> {
        let prefix = format!("{}-", name(set));
        let all = self.store.list(&pods(), Some(namespace(set))).0;
        let numbered = all.into_iter().filter_map(|pod| {
            let ordinal = name(&pod).strip_prefix(&prefix)?.parse().ok()?;
            controlled_by(&pod, uid(set)).then_some((ordinal, pod))
        });
        numbered.collect()
    }

    async fn take(&self, set: &Value, step: &Step, revision: &str) -> Result<(), ApiError> {
        match step {
            Step::Create(ordinal) => self.create(set, *ordinal, revision).await,
            Step::Delete(pod) => {
                let ns = namespace(set);
                self.store
                    .delete(&pods(), Some(ns), pod, &DeleteOptions::default())?;
                let message = format!("delete Pod {pod} in StatefulSet {} successful", name(set));
                self.recorder
                    .note(set, "Normal", "SuccessfulDelete", &message);
                Ok(())
            }
        }
    }

    async fn create(&self, set: &Value, ordinal: i64, revision: &str) -> Result<(), ApiError> {
        if !items(set, &["spec", "volumeClaimTemplates"]).is_empty() {
            let message = "this cluster has no storage: remove spec.volumeClaimTemplates";
            self.recorder.note(set, "Warning", "FailedCreate", message);
            return Ok(());
        }
        let pod = pod(set, ordinal, revision);
        let made = name(&pod).to_owned();
        let outcome = self
            .make
            .pod("statefulset-controller", namespace(set), pod)
            .await;
        let done = |how: &str| format!("create Pod {made} in StatefulSet {} {how}", name(set));
        match outcome {
            Ok(_) => {
                let message = done("successful");
                self.recorder
                    .note(set, "Normal", "SuccessfulCreate", &message);
                Ok(())
            }
            Err(fault) => {
                let message = done(&format!("failed error: {fault}"));
                self.recorder.note(set, "Warning", "FailedCreate", &message);
                Err(fault)
            }
        }
    }

    fn report(&self, key: &Key, newest: &str) -> Result<(), ApiError> {
        let change = |set: &Value| {
            let mut new = set.clone();
            new["status"] = status(set, &self.own(set), newest);
            Ok(new)
        };
        match self
            .store
            .update(&statefulsets(), key.namespace(), &key.name, change)
        {
            Err(fault) if fault.code != 404 => Err(fault),
            _ => Ok(()),
        }
    }
}

/// The pod with an ordinal.
fn pod(set: &Value, ordinal: i64, revision: &str) -> Value {
    let (template, base) = (at(set, &["spec", "template"]), name(set));
    let made = format!("{base}-{ordinal}");
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod", "spec": at(template, &["spec"]),
        "metadata": {"name": made, "generateName": format!("{base}-"),
                     "namespace": namespace(set), "ownerReferences": [control(set)]},
    });
    for field in ["labels", "annotations", "finalizers"] {
        keep(at(template, &["metadata"]), &mut pod["metadata"], field);
    }
    let labels = &mut pod["metadata"]["labels"];
    labels[REVISION] = json!(revision);
    labels["statefulset.kubernetes.io/pod-name"] = json!(made);
    labels["apps.kubernetes.io/pod-index"] = json!(ordinal.to_string());
    pod["spec"]["hostname"] = json!(made);
    let service = text(set, &["spec", "serviceName"]);
    if !service.is_empty() {
        pod["spec"]["subdomain"] = json!(service);
    }
    pod
}

fn status(set: &Value, own: &BTreeMap<i64, Arc<Value>>, newest: &str) -> Value {
    let wait = chrono::Duration::seconds(number(set, &["spec", "minReadySeconds"]));
    let available = |pod: &Value| {
        healthy(pod) && ready_since(pod).is_none_or(|since| since + wait <= Utc::now())
    };
    let count = |which: &dyn Fn(&Value) -> bool| own.values().filter(|p| which(p)).count();
    let was = text(set, &["status", "currentRevision"]);
    let updated = count(&|p| revision_of(p) == newest && !deleting(p));
    let all = count(&|p| !deleting(p));
    // The rollout is over once every pod is of the newest revision.
    let current = if was.is_empty() || updated == all {
        newest
    } else {
        was
    };
    let mut status = json!({
        "replicas": own.len(), "availableReplicas": count(&available),
        "observedGeneration": number(set, &["metadata", "generation"]),
        "currentRevision": current, "updateRevision": newest, "collisionCount": 0,
    });
    let counts = [
        ("readyReplicas", count(&healthy)),
        (
            "currentReplicas",
            count(&|p| revision_of(p) == current && !deleting(p)),
        ),
        ("updatedReplicas", updated),
    ];
    for (field, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
        status[field] = json!(count);
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods(of: &[(i64, bool, &str)]) -> BTreeMap<i64, Arc<Value>> {
        let pod = |(ordinal, serves, revision): &(i64, bool, &str)| {
            let state = if *serves { "True" } else { "False" };
            let pod = json!({"metadata": {"name": format!("db-{ordinal}"), "labels": {REVISION: revision}},
                "status": {"conditions": [{"type": "Ready", "status": state}]}});
            (*ordinal, Arc::new(pod))
        };
        of.iter().map(pod).collect()
    }

    fn wanted(replicas: i64) -> Wanted<'static> {
        Wanted {
            first: 0,
            replicas,
            parallel: false,
            partition: Some(0),
            revision: "new",
        }
    }

    #[test]
    fn pods_are_made_in_order_each_once_the_one_before_serves() {
        assert_eq!(plan(&wanted(2), &pods(&[])), [Step::Create(0)]);
        assert_eq!(plan(&wanted(2), &pods(&[(0, false, "new")])), []);
        assert_eq!(
            plan(&wanted(2), &pods(&[(0, true, "new")])),
            [Step::Create(1)]
        );
        let all = Wanted {
            parallel: true,
            ..wanted(2)
        };
        assert_eq!(plan(&all, &pods(&[])), [Step::Create(0), Step::Create(1)]);
    }

    #[test]
    fn the_last_pod_goes_first_and_is_replaced_first() {
        let both = pods(&[(0, true, "old"), (1, true, "old")]);
        assert_eq!(plan(&wanted(1), &both), [Step::Delete("db-1".into())]);
        assert_eq!(plan(&wanted(2), &both), [Step::Delete("db-1".into())]);
        let half = pods(&[(0, true, "old"), (1, true, "new")]);
        assert_eq!(plan(&wanted(2), &half), [Step::Delete("db-0".into())]);
        let waits = pods(&[(0, true, "old"), (1, false, "new")]);
        assert_eq!(plan(&wanted(2), &waits), []);
        let kept = Wanted {
            partition: Some(2),
            ..wanted(2)
        };
        assert_eq!(plan(&kept, &both), []);
    }
}
