//! PodDisruptionBudgets: what is refused, what is counted, and what evictions may do.

use super::{Named, deployment, pod, with};
use crate::session::Session;
use serde_json::{Value, json};

pub const ALL: &[Named] = &[
    ("budgets", budgets),
    ("budgets_refused", budgets_refused),
    ("budgets_count", budgets_count),
    ("evictions", evictions),
];

fn budget(name: &str, spec: Value) -> Value {
    let mut budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": {"name": name}, "spec": spec});
    budget["spec"]["selector"] = json!({"matchLabels": {"app": "web"}});
    budget
}

fn all(s: &Session) -> String {
    s.group("policy/v1", "poddisruptionbudgets")
}

fn budgets(s: &mut Session) {
    s.without_controllers();
    let (all, path) = (all(s), s.group("policy/v1", "poddisruptionbudgets/web"));
    s.post(&all, budget("web", json!({"minAvailable": 1})));
    s.table(&path);
    s.kubectl(&["get", "pdb", "--no-headers"]);
    s.put(&path, budget("web", json!({"minAvailable": 1})));
    s.merge(&path, json!({"spec": {"minAvailable": "50%"}}));
    s.merge(
        &path,
        json!({"spec": {"minAvailable": null, "maxUnavailable": 1}}),
    );
    s.strategic(
        &path,
        json!({"spec": {"selector": {"matchLabels": {"b": "c"}}}}),
    );
    s.table(&path);
    s.kubectl(&[
        "create",
        "pdb",
        "typed",
        "--selector=app=x",
        "--min-available=1",
    ]);
    s.delete(&path, None);
}

fn budgets_refused(s: &mut Session) {
    let all = all(s);
    for spec in [
        json!({"minAvailable": 1, "maxUnavailable": 1}),
        json!({"minAvailable": -1}),
        json!({"minAvailable": "x"}),
        json!({"maxUnavailable": "101%"}),
        json!({"unhealthyPodEvictionPolicy": "Sometimes"}),
        json!({"minAvailable": {}}),
    ] {
        s.post(&all, budget("web", spec));
    }
    let odd = with(
        budget("web", json!({})),
        "/spec/selector",
        json!({"matchLabels": {"a b": ""}}),
    );
    s.post(&all, odd);
}

/// Waits for the controller's count.
fn counted(s: &mut Session, name: &str, wanted: &[(&str, i64)]) {
    let path = s.group("policy/v1", &format!("poddisruptionbudgets/{name}"));
    s.until(&path, |o| {
        o["status"]["observedGeneration"] == o["metadata"]["generation"]
            && wanted.iter().all(|(field, n)| o["status"][field] == *n)
    });
}

fn set_ready(s: &mut Session, pod: &str) {
    s.strategic(
        &s.core(&format!("pods/{pod}/status")),
        json!({"status": {"phase": "Running", "conditions":
            [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}}),
    );
}

fn budgets_count(s: &mut Session) {
    let all = all(s);
    s.post(&all, budget("none", json!({"minAvailable": 1})));
    counted(s, "none", &[("expectedPods", 0)]);
    s.post(&s.core("pods"), pod("a"));
    s.post(&s.core("pods"), pod("b"));
    counted(s, "none", &[("expectedPods", 2)]);
    set_ready(s, "a");
    set_ready(s, "b");
    counted(s, "none", &[("disruptionsAllowed", 1)]);
    s.without_controllers();
    let web = with(deployment("web"), "/spec/replicas", json!(3));
    s.post(&s.apps("deployments"), web);
    s.delete(&s.core("pods/a"), Some(json!({"gracePeriodSeconds": 0})));
    s.delete(&s.core("pods/b"), Some(json!({"gracePeriodSeconds": 0})));
    s.post(&all, budget("part", json!({"maxUnavailable": "30%"})));
    let path = s.group("policy/v1", "poddisruptionbudgets/part");
    s.wait(&path, |o| {
        o["status"]["expectedPods"] == 3 && o["status"]["desiredHealthy"] == 2
    });
}

fn evictions(s: &mut Session) {
    s.post(&s.core("pods"), pod("a"));
    s.post(&s.core("pods"), pod("b"));
    s.post(&all(s), budget("web", json!({"minAvailable": 1})));
    set_ready(s, "a");
    set_ready(s, "b");
    counted(s, "web", &[("disruptionsAllowed", 1)]);
    let evict = |name: &str| {
        json!({"apiVersion": "policy/v1", "kind": "Eviction",
        "metadata": {"name": name}})
    };
    let path = |s: &Session, name: &str| s.core(&format!("pods/{name}/eviction"));
    s.post(&format!("{}?dryRun=All", path(s, "a")), evict("a"));
    s.post(&path(s, "a"), evict("a"));
    s.gone(&s.core("pods/a"));
    counted(s, "web", &[("currentHealthy", 1), ("expectedPods", 1)]);
    s.post(&path(s, "b"), evict("b"));
    s.post(&path(s, "none"), evict("none"));
    s.post(&all(s), budget("second", json!({"minAvailable": 1})));
    s.post(&path(s, "b"), evict("b"));
    s.get(&s.core("pods/b"));
}
