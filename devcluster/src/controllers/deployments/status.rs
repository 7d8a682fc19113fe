//! What a Deployment says of its rollout: counts and conditions, as `kubectl rollout status` and
//! `kubectl wait` read them. Pure but for the time handed in.

use super::plan::Limits;
use crate::controllers::objects::{condition, number, time};
use crate::schema::json::{at, name};
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};
use std::time::Duration;

/// The status of a deployment whose sets are `all`, among them `new`; and when it changes by
/// itself because the rollout takes too long.
pub(super) fn status(
    deployment: &Value,
    limits: Limits,
    new: Option<&Value>,
    all: &[&Value],
    clock: DateTime<Utc>,
) -> (Value, Option<Duration>) {
    let sum = |field: &str| {
        all.iter()
            .map(|s| number(s, &["status", field]))
            .sum::<i64>()
    };
    let (replicas, available) = (sum("replicas"), sum("availableReplicas"));
    let updated = new.map_or(0, |s| number(s, &["status", "replicas"]));
    let missing = (limits.wanted.max(replicas) - available).max(0);
    let mut status = json!({
        "observedGeneration": number(deployment, &["metadata", "generation"]),
        "terminatingReplicas": sum("terminatingReplicas"),
    });
    let counts = [
        ("replicas", replicas),
        ("updatedReplicas", updated),
        ("readyReplicas", sum("readyReplicas")),
        ("availableReplicas", available),
        ("unavailableReplicas", missing),
    ];
    for (field, count) in counts.into_iter().filter(|(_, count)| *count != 0) {
        status[field] = json!(count);
    }
    let old_collisions = at(deployment, &["status", "collisionCount"]);
    if !old_collisions.is_null() {
        status["collisionCount"] = old_collisions.clone();
    }
    let (progress, again) = progressing(deployment, limits, new, &status, clock);
    let mut conditions = vec![reachable(deployment, limits, available, clock)];
    conditions.extend(progress);
    conditions.extend(failure(all));
    status["conditions"] = Value::Array(conditions);
    (status, again)
}

/// A condition; it keeps its times where it says what it said before.
fn said(
    deployment: &Value,
    kind: &str,
    holds: bool,
    reason: &str,
    message: &str,
    clock: DateTime<Utc>,
) -> Value {
    let state = if holds { "True" } else { "False" };
    let now = json!(clock.to_rfc3339_opts(SecondsFormat::Secs, true));
    let was = condition(deployment, kind).unwrap_or(&Value::Null);
    let same_state = was["status"] == state;
    let same = same_state && was["reason"] == reason && was["message"] == message;
    let or_now = |keep: bool, field: &str| {
        if keep {
            was[field].clone()
        } else {
            now.clone()
        }
    };
    json!({"type": kind, "status": state, "reason": reason, "message": message,
           "lastTransitionTime": or_now(same_state, "lastTransitionTime"),
           "lastUpdateTime": or_now(same, "lastUpdateTime")})
}

fn reachable(deployment: &Value, limits: Limits, available: i64, clock: DateTime<Utc>) -> Value {
    if available >= limits.wanted - limits.unavailable {
        let (reason, message) = (
            "MinimumReplicasAvailable",
            "Deployment has minimum availability.",
        );
        said(deployment, "Available", true, reason, message, clock)
    } else {
        let (reason, message) = (
            "MinimumReplicasUnavailable",
            "Deployment does not have minimum availability.",
        );
        said(deployment, "Available", false, reason, message, clock)
    }
}

fn progressing(
    deployment: &Value,
    limits: Limits,
    new: Option<&Value>,
    status: &Value,
    clock: DateTime<Utc>,
) -> (Option<Value>, Option<Duration>) {
    let was = condition(deployment, "Progressing");
    if deployment["spec"]["paused"] == true {
        let (reason, message) = ("DeploymentPaused", "Deployment is paused");
        // Being paused is no failure to progress.
        let mut paused = said(deployment, "Progressing", true, reason, message, clock);
        paused["status"] = json!("Unknown");
        return (Some(paused), None);
    }
    let set = new.map_or_else(String::new, |s| format!("ReplicaSet {:?} ", name(s)));
    let count = |field: &str| number(status, &[field]);
    let complete = new.is_some()
        && count("updatedReplicas") == limits.wanted
        && count("replicas") == limits.wanted
        && count("availableReplicas") == limits.wanted;
    let was_complete = was.is_some_and(|c| {
        c["reason"] == "NewReplicaSetAvailable"
            && c["message"].as_str().is_some_and(|m| m.starts_with(&set))
    });
    let say = |holds, reason, message: &str| {
        Some(said(
            deployment,
            "Progressing",
            holds,
            reason,
            message,
            clock,
        ))
    };
    if complete || (was_complete && count("replicas") == count("updatedReplicas")) {
        let message = format!("{set}has successfully progressed.");
        return (say(true, "NewReplicaSetAvailable", &message), None);
    }
    let counts = [
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
    ];
    let moved = counts
        .iter()
        .any(|f| number(deployment, &["status", f]) != count(f))
        || was.is_none_or(|c| c["reason"] == "NewReplicaSetAvailable" || c["status"] == "Unknown");
    let message = format!("{set}is progressing.");
    let mut now = say(true, "ReplicaSetUpdated", &message);
    if moved {
        if let Some(now) = &mut now {
            now["lastUpdateTime"] = json!(clock.to_rfc3339_opts(SecondsFormat::Secs, true));
        }
        return (now, deadline(deployment, clock, clock));
    }
    let since = was
        .and_then(|c| time(at(c, &["lastUpdateTime"])))
        .unwrap_or(clock);
    match deadline(deployment, since, clock) {
        Some(left) if !left.is_zero() => match was {
            Some(was) if was["status"] == "True" => (Some(was.clone()), Some(left)),
            _ => (now, Some(left)),
        },
        Some(_) => {
            let message = format!("{set}has timed out progressing.");
            (say(false, "ProgressDeadlineExceeded", &message), None)
        }
        None => (now, None),
    }
}

/// How long the rollout may still take; `None` without a deadline.
fn deadline(deployment: &Value, since: DateTime<Utc>, clock: DateTime<Utc>) -> Option<Duration> {
    let seconds = at(deployment, &["spec", "progressDeadlineSeconds"]).as_i64()?;
    let due = since + chrono::Duration::try_seconds(seconds)?;
    Some((due - clock).to_std().unwrap_or_default())
}

/// Pods that cannot be made, as the sets tell.
fn failure(all: &[&Value]) -> Option<Value> {
    all.iter()
        .find_map(|s| condition(s, "ReplicaFailure"))
        .map(|failed| {
            let mut failed = failed.clone();
            failed["lastUpdateTime"] = failed["lastTransitionTime"].clone();
            failed
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::deployments::plan::limits;

    fn deployment() -> Value {
        json!({"metadata": {"name": "web", "generation": 3},
               "spec": {"replicas": 2, "progressDeadlineSeconds": 600}})
    }

    fn set(replicas: i64, available: i64) -> Value {
        json!({"metadata": {"name": "web-1"}, "status": {
            "replicas": replicas, "readyReplicas": available, "availableReplicas": available}})
    }

    fn clock(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap()
    }

    fn run(deployment: &mut Value, new: &Value, old: &Value, second: i64) -> Option<Duration> {
        let two = limits(2, &json!("25%"), &json!("25%"));
        let (status, again) = status(deployment, two, Some(new), &[new, old], clock(second));
        deployment["status"] = status;
        again
    }

    fn reason(deployment: &Value, kind: &str) -> String {
        let c = condition(deployment, kind).unwrap();
        format!(
            "{} {}",
            c["status"].as_str().unwrap(),
            c["reason"].as_str().unwrap()
        )
    }

    #[test]
    fn a_rollout_reports_its_way_to_the_end() {
        let mut d = deployment();
        assert_eq!(
            run(&mut d, &set(2, 0), &set(0, 0), 0),
            Some(Duration::from_secs(600))
        );
        assert_eq!(reason(&d, "Available"), "False MinimumReplicasUnavailable");
        assert_eq!(reason(&d, "Progressing"), "True ReplicaSetUpdated");
        assert_eq!(run(&mut d, &set(2, 2), &set(0, 0), 5), None);
        assert_eq!(reason(&d, "Available"), "True MinimumReplicasAvailable");
        assert_eq!(reason(&d, "Progressing"), "True NewReplicaSetAvailable");
        let counts = |f: &str| number(&d, &["status", f]);
        assert_eq!(
            (counts("updatedReplicas"), counts("observedGeneration")),
            (2, 3)
        );
        // A pod that fails later is no rollout.
        run(&mut d, &set(2, 1), &set(0, 0), 9);
        assert_eq!(reason(&d, "Progressing"), "True NewReplicaSetAvailable");
        assert_eq!(reason(&d, "Available"), "False MinimumReplicasUnavailable");
    }

    #[test]
    fn old_pods_keep_a_rollout_from_being_over() {
        let mut d = deployment();
        run(&mut d, &set(2, 2), &set(1, 1), 0);
        assert_eq!(reason(&d, "Progressing"), "True ReplicaSetUpdated");
        assert_eq!(number(&d, &["status", "replicas"]), 3);
    }

    #[test]
    fn a_rollout_that_stands_still_is_said_to() {
        let mut d = deployment();
        run(&mut d, &set(2, 0), &set(0, 0), 0);
        assert_eq!(
            run(&mut d, &set(2, 0), &set(0, 0), 100),
            Some(Duration::from_secs(500))
        );
        assert_eq!(run(&mut d, &set(2, 0), &set(0, 0), 600), None);
        assert_eq!(reason(&d, "Progressing"), "False ProgressDeadlineExceeded");
        run(&mut d, &set(2, 1), &set(0, 0), 700);
        assert_eq!(reason(&d, "Progressing"), "True ReplicaSetUpdated");
    }
}
