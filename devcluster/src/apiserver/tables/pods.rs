//! What state a pod is in, in one word, as `kubectl get pods` derives it.

use super::age;
use serde_json::Value;

/// What the columns of a pod show.
pub(super) struct PodSummary {
    pub(super) ready: String,
    pub(super) status: String,
    pub(super) restarts: String,
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Summarises a pod.
pub(super) fn summary(pod: &Value) -> PodSummary {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let phase = status["phase"].as_str().unwrap_or("Unknown");
    let mut reason = status["reason"].as_str().unwrap_or(phase).to_owned();
    let restarts = restarts(status);
    let initialising = init_reason(spec, status);
    let mut ready = 0;
    let mut running = false;
    if let Some(waits) = &initialising {
        reason.clone_from(waits);
    } else {
        for container in list(status, "containerStatuses").iter().rev() {
            let state = &container["state"];
            if let Some(why) = stopped_reason(state) {
                reason = why;
            } else if container["ready"] == true && state["running"].is_object() {
                ready += 1;
                running = true;
            }
        }
        if reason == "Completed" && running {
            let is_ready = list(status, "conditions")
                .iter()
                .any(|c| c["type"] == "Ready" && c["status"] == "True");
            reason = if is_ready {
                "Running".into()
            } else {
                "NotReady".into()
            };
        }
    }
    ready += sidecars_ready(spec, status);
    if !pod["metadata"]["deletionTimestamp"].is_null() {
        reason = if status["reason"] == "NodeLost" {
            "Unknown"
        } else {
            "Terminating"
        }
        .into();
    }
    let sidecars = list(spec, "initContainers")
        .iter()
        .filter(|c| c["restartPolicy"] == "Always");
    let total = list(spec, "containers").len() + sidecars.count();
    PodSummary {
        ready: format!("{ready}/{total}"),
        status: reason,
        restarts,
    }
}

fn sidecars_ready(spec: &Value, status: &Value) -> usize {
    let sidecar = |name: &Value| {
        list(spec, "initContainers")
            .iter()
            .any(|c| c["name"] == *name && c["restartPolicy"] == "Always")
    };
    let statuses = list(status, "initContainerStatuses").iter();
    statuses
        .filter(|c| c["ready"] == true && sidecar(&c["name"]))
        .count()
}

/// Why a container does not run, if it does not.
fn stopped_reason(state: &Value) -> Option<String> {
    if let Some(waiting) = state["waiting"]["reason"]
        .as_str()
        .filter(|r| !r.is_empty())
    {
        return Some(waiting.to_owned());
    }
    let ended = state["terminated"].as_object()?;
    let text = ended
        .get("reason")
        .and_then(Value::as_str)
        .filter(|r| !r.is_empty());
    Some(match (text, ended.get("signal").and_then(Value::as_i64)) {
        (Some(reason), _) => reason.to_owned(),
        (None, Some(signal)) if signal != 0 => format!("Signal:{signal}"),
        _ => format!("ExitCode:{}", ended.get("exitCode").unwrap_or(&Value::Null)),
    })
}

/// `Init:…` while init containers hold the pod.
fn init_reason(spec: &Value, status: &Value) -> Option<String> {
    let wanted = list(spec, "initContainers");
    for (done, container) in list(status, "initContainerStatuses").iter().enumerate() {
        let state = &container["state"];
        let sidecar = wanted
            .iter()
            .any(|c| c["name"] == container["name"] && c["restartPolicy"] == "Always");
        if state["terminated"]["exitCode"] == 0 || (sidecar && container["started"] == true) {
            continue;
        }
        let why = match stopped_reason(state) {
            Some(reason) if reason != "PodInitializing" => reason,
            _ => format!("{done}/{}", wanted.len()),
        };
        return Some(format!("Init:{why}"));
    }
    None
}

/// `3 (5m ago)`.
fn restarts(status: &Value) -> String {
    let all = || {
        list(status, "containerStatuses")
            .iter()
            .chain(list(status, "initContainerStatuses"))
    };
    let count: u64 = all().filter_map(|c| c["restartCount"].as_u64()).sum();
    let last = all()
        .filter_map(|c| c["lastState"]["terminated"]["finishedAt"].as_str())
        .max();
    match last {
        Some(last) if count > 0 => format!("{count} ({} ago)", age::since(Some(last))),
        _ => count.to_string(),
    }
}
