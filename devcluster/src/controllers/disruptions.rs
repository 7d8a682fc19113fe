//! PodDisruptionBudgets: how many pods are there, how many are needed, how many can be spared.
//! Evictions spend what is counted here.

use super::driver::Controller;
use super::events::Recorder;
use super::objects::{
    Key, condition, controller_of, deployments, number, pods, ready, replicasets, statefulsets,
    time,
};
use crate::schema::json::{at, deleting, map_in, name, namespace, remove, text, uid};
use crate::schema::{percent, selector};
use crate::status::ApiError;
use crate::store::{ResourceKey, Store, now};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long an evicted pod counts as going although nobody deleted it.
const DELETION_SECONDS: i64 = 120;
const ALLOWED: &str = "DisruptionAllowed";

/// Counts.
pub(super) struct Disruptions {
    pub(super) store: Store,
    pub(super) recorder: Recorder,
}

fn budgets() -> ResourceKey {
    ResourceKey::new("policy", "poddisruptionbudgets")
}

/// What a budget comes to.
#[derive(Debug, PartialEq, Eq)]
struct Count {
    expected: i64,
    needed: i64,
}

/// A share of a whole, rounded up.
fn share(value: &Value, whole: i64) -> i64 {
    match percent(value) {
        Some(percent) => (whole.saturating_mul(percent) + 99) / 100,
        None => value.as_i64().unwrap_or_default(),
    }
}

/// How many pods there should be and how many must be ready. `selected` pods match; `wanted` is
/// what their controllers want in all.
fn count(spec: &Value, selected: i64, wanted: i64) -> Count {
    let (least, most) = (at(spec, &["minAvailable"]), at(spec, &["maxUnavailable"]));
    if !most.is_null() {
        let needed = (wanted - share(most, wanted)).max(0);
        return Count {
            expected: wanted,
            needed,
        };
    }
    match least {
        Value::Null => Count {
            expected: 0,
            needed: 0,
        },
        Value::String(_) => Count {
            expected: wanted,
            needed: share(least, wanted),
        },
        number => Count {
            expected: selected,
            needed: number.as_i64().unwrap_or_default(),
        },
    }
}

/// Evicted pods that are still there and not being deleted, and when to look again.
fn disrupted(
    budget: &Value,
    own: &[Arc<Value>],
    at_time: DateTime<Utc>,
) -> (Value, Option<Duration>) {
    let (mut left, mut next) = (BTreeMap::new(), None::<Duration>);
    for pod in own.iter().filter(|pod| !deleting(pod)) {
        let since = at(budget, &["status", "disruptedPods", name(pod)]);
        let due = time(since).map(|since| since + chrono::Duration::seconds(DELETION_SECONDS));
        if let Some(wait) = due.and_then(|due| (due - at_time).to_std().ok()) {
            next = Some(next.map_or(wait, |next| next.min(wait)));
            left.insert(name(pod).to_owned(), since.clone());
        }
    }
    (json!(left), next)
}

/// Sets the condition that says whether a pod can be spared.
pub(crate) fn disruption_allowed(budget: &mut Value) {
    let allowed = number(budget, &["status", "disruptionsAllowed"]) > 0;
    let (status, reason) = if allowed {
        ("True", "SufficientPods")
    } else {
        ("False", "InsufficientPods")
    };
    let was = condition(budget, ALLOWED).filter(|c| c["status"] == status);
    let since = was.map_or_else(|| json!(now()), |c| c["lastTransitionTime"].clone());
    let observed = number(budget, &["status", "observedGeneration"]);
    let condition = json!({"type": ALLOWED, "status": status, "reason": reason, "message": "",
        "lastTransitionTime": since, "observedGeneration": observed});
    map_in(budget, "status");
    budget["status"]["conditions"] = json!([condition]);
}

impl Controller for Disruptions {
    fn name(&self) -> &'static str {
        "disruptions"
    }

    fn sources(&self) -> Vec<ResourceKey> {
        vec![
            budgets(),
            pods(),
            deployments(),
            replicasets(),
            statefulsets(),
        ]
    }

    fn touched(&self, source: &ResourceKey, object: &Value) -> Vec<Key> {
        if *source == budgets() {
            return vec![Key::of(object)];
        }
        let (all, _) = self.store.list(&budgets(), Some(namespace(object)));
        let labels = at(object, &["metadata", "labels"]);
        // A workload may be anybody's whose pods are looked at.
        let concerned = |budget: &&Arc<Value>| *source != pods() || selects(budget, labels);
        all.iter().filter(concerned).map(|b| Key::of(b)).collect()
    }

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, ApiError> {
        self.store.exclusive(|| self.report(key))
    }
}

fn selects(budget: &Value, labels: &Value) -> bool {
    let wanted = at(budget, &["spec", "selector"]);
    !wanted.is_null() && selector::matches(wanted, labels)
}

impl Disruptions {
    fn report(&self, key: &Key) -> Result<Option<Duration>, ApiError> {
        let Some(budget) = self.store.get(&budgets(), key.namespace(), &key.name) else {
            return Ok(None);
        };
        let mut own = self.store.list(&pods(), Some(&key.ns)).0;
        own.retain(|pod| selects(&budget, at(pod, &["metadata", "labels"])));
        if own.is_empty() {
            let message = "No matching pods found";
            self.recorder.note(&budget, "Normal", "NoPods", message);
        }
        let number_of = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let Count { expected, needed } = count(
            at(&budget, &["spec"]),
            number_of(own.len()),
            self.wanted(&own),
        );
        let (disrupted, again) = disrupted(&budget, &own, Utc::now());
        let healthy = |pod: &&Arc<Value>| {
            !deleting(pod) && ready(pod) && at(&disrupted, &[name(pod)]).is_null()
        };
        let healthy = number_of(own.iter().filter(healthy).count());
        let allowed = if expected > 0 {
            (healthy - needed).max(0)
        } else {
            0
        };
        let change = |old: &Value| {
            let mut new = old.clone();
            map_in(&mut new, "status");
            let status = &mut new["status"];
            status["currentHealthy"] = json!(healthy);
            status["desiredHealthy"] = json!(needed);
            status["expectedPods"] = json!(expected);
            status["disruptionsAllowed"] = json!(allowed);
            status["observedGeneration"] = at(old, &["metadata", "generation"]).clone();
            if disrupted.as_object().is_none_or(serde_json::Map::is_empty) {
                remove(status, "disruptedPods");
            } else {
                status["disruptedPods"] = disrupted.clone();
            }
            disruption_allowed(&mut new);
            Ok(new)
        };
        self.store
            .update(&budgets(), key.namespace(), &key.name, change)?;
        Ok(again)
    }

    /// How many pods the controllers of these pods want, each controller counted once.
    fn wanted(&self, own: &[Arc<Value>]) -> i64 {
        let mut scales = BTreeMap::new();
        for pod in own {
            let Some(owner) = controller_of(pod) else {
                continue;
            };
            if let Some((uid, scale)) = self.scale(owner, namespace(pod)) {
                scales.insert(uid, scale);
            }
        }
        scales.values().sum()
    }

    /// The workload an owner stands for, and its scale: of a ReplicaSet its Deployment's.
    fn scale(&self, owner: &Value, ns: &str) -> Option<(String, i64)> {
        let kind = match text(owner, &["kind"]) {
            "ReplicaSet" => replicasets(),
            "StatefulSet" => statefulsets(),
            "Deployment" => deployments(),
            _ => return None,
        };
        let found = self.store.get(&kind, Some(ns), text(owner, &["name"]))?;
        if let Some(above) = controller_of(&found).filter(|_| kind == replicasets()) {
            return self.scale(above, ns);
        }
        Some((
            uid(&found).to_owned(),
            number(&found, &["spec", "replicas"]),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_count_pods_or_parts_of_what_is_wanted() {
        let table = [
            (json!({"minAvailable": 2}), (3, 2)),
            (json!({"minAvailable": "50%"}), (5, 3)),
            (json!({"maxUnavailable": 1}), (5, 4)),
            (json!({"maxUnavailable": "30%"}), (5, 3)),
            (json!({"maxUnavailable": 9}), (5, 0)),
            (json!({}), (0, 0)),
        ];
        for (spec, (expected, needed)) in table {
            assert_eq!(count(&spec, 3, 5), Count { expected, needed }, "{spec}");
        }
    }

    #[test]
    fn an_evicted_pod_counts_as_gone_for_two_minutes() {
        let pod = Arc::new(json!({"metadata": {"name": "a"}}));
        let budget = json!({"status": {"disruptedPods": {"a": "2026-01-01T00:00:00Z",
                                                         "gone": "2026-01-01T00:00:00Z"}}});
        let at = |s: &str| time(&json!(s)).unwrap();
        let own = [pod];
        let (left, next) = disrupted(&budget, &own, at("2026-01-01T00:01:00Z"));
        assert_eq!(left, json!({"a": "2026-01-01T00:00:00Z"}));
        assert_eq!(next, Some(Duration::from_secs(60)));
        let (left, next) = disrupted(&budget, &own, at("2026-01-01T00:03:00Z"));
        assert_eq!((left, next), (json!({}), None));
    }
}
