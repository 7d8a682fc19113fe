//! Pods and pod templates: what users leave out, and what is refused.

mod account;
mod rare;
mod update;
mod validate;

use super::json::{at, default, items, items_mut, map_in, text};
use serde_json::{Value, json};

pub(super) use account::admit;
pub(crate) use account::random_suffix;
pub(super) use update::validate_update;
pub(super) use validate::validate_spec;

/// Fills in a pod spec, wherever it stands.
pub(super) fn complete_spec(spec: &mut Value) {
    if !spec.is_object() {
        return;
    }
    if at(spec, &["terminationGracePeriodSeconds"])
        .as_i64()
        .is_some_and(|n| n < 0)
    {
        spec["terminationGracePeriodSeconds"] = json!(1);
    }
    default(spec, "restartPolicy", "Always");
    default(spec, "dnsPolicy", "ClusterFirst");
    default(spec, "terminationGracePeriodSeconds", 30);
    default(spec, "schedulerName", "default-scheduler");
    default(spec, "securityContext", json!({}));
    same_account(spec);
    let host_network = spec["hostNetwork"] == true;
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in items_mut(spec, list) {
            complete_container(container, host_network);
        }
    }
    for volume in items_mut(spec, "volumes") {
        complete_volume(volume);
    }
}

/// Fills in what only a pod, not a template, is given.
pub(super) fn complete_pod(obj: &mut Value) {
    map_in(obj, "spec");
    let Some(spec) = obj.get_mut("spec") else {
        return;
    };
    complete_spec(spec);
    default(spec, "enableServiceLinks", true);
    default(spec, "preemptionPolicy", "PreemptLowerPriority");
    default(spec, "priority", 0);
    if at(spec, &["tolerations"]).is_null() {
        let tolerate = |key: &str| {
            json!({"key": format!("node.kubernetes.io/{key}"), "operator": "Exists",
                   "effect": "NoExecute", "tolerationSeconds": 300})
        };
        spec["tolerations"] = json!([tolerate("not-ready"), tolerate("unreachable")]);
    }
}

/// The quality of service a pod's resources amount to.
pub(super) fn quality(spec: &Value) -> &'static str {
    let all = ["initContainers", "containers"];
    let all = all.iter().flat_map(|list| items(spec, &[list]));
    let (mut any, mut guaranteed) = (false, true);
    for container in all {
        for resource in ["cpu", "memory"] {
            let part = |of: &str| at(container, &["resources", of, resource]);
            any |= !part("requests").is_null() || !part("limits").is_null();
            guaranteed &= !part("limits").is_null() && part("limits") == part("requests");
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

/// `serviceAccount` is the old spelling of `serviceAccountName`; both are kept alike.
fn same_account(spec: &mut Value) {
    let name = match text(spec, &["serviceAccountName"]) {
        "" => text(spec, &["serviceAccount"]),
        name => name,
    };
    if !name.is_empty() {
        let name = json!(name);
        spec["serviceAccount"] = name.clone();
        spec["serviceAccountName"] = name;
    }
}

fn complete_container(container: &mut Value, host_network: bool) {
    let policy = pull_policy(text(container, &["image"]));
    default(container, "imagePullPolicy", policy);
    default(container, "terminationMessagePath", "/dev/termination-log");
    default(container, "terminationMessagePolicy", "File");
    default(container, "resources", json!({}));
    for port in items_mut(container, "ports") {
        default(port, "protocol", "TCP");
        if host_network {
            let number = port["containerPort"].clone();
            default(port, "hostPort", number);
        }
    }
    for variable in items_mut(container, "env") {
        if let Some(field) = variable.pointer_mut("/valueFrom/fieldRef") {
            default(field, "apiVersion", "v1");
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(probe) {
            complete_probe(probe);
        }
    }
    complete_resources(&mut container["resources"]);
}

/// A limit without a request asks for as much.
fn complete_resources(resources: &mut Value) {
    let limits = at(resources, &["limits"]).clone();
    for (name, limit) in limits.as_object().into_iter().flatten() {
        if let Some(requests) = map_in(resources, "requests") {
            requests
                .entry(name.clone())
                .or_insert_with(|| limit.clone());
        }
    }
}

fn complete_probe(probe: &mut Value) {
    default(probe, "timeoutSeconds", 1);
    default(probe, "periodSeconds", 10);
    default(probe, "successThreshold", 1);
    default(probe, "failureThreshold", 3);
    if let Some(get) = probe.get_mut("httpGet") {
        default(get, "path", "/");
        default(get, "scheme", "HTTP");
    }
    if let Some(grpc) = probe.get_mut("grpc") {
        default(grpc, "service", "");
    }
}

/// Images without a version, or with `latest`, are looked up anew each time.
fn pull_policy(image: &str) -> &'static str {
    let last = image.rsplit('/').next().unwrap_or_default();
    let pinned = image.contains('@');
    match last.split_once(':') {
        _ if pinned => "IfNotPresent",
        None | Some((_, "latest")) => "Always",
        Some(_) => "IfNotPresent",
    }
}

fn complete_volume(volume: &mut Value) {
    for source in ["configMap", "secret", "downwardAPI", "projected"] {
        if let Some(source) = volume.get_mut(source) {
            default(source, "defaultMode", 0o644);
        }
    }
    if let Some(fields) = volume.get_mut("downwardAPI") {
        complete_fields(fields);
    }
    if let Some(projected) = volume.get_mut("projected") {
        for source in items_mut(projected, "sources") {
            if let Some(token) = source.get_mut("serviceAccountToken") {
                default(token, "expirationSeconds", 3600);
            }
            if let Some(fields) = source.get_mut("downwardAPI") {
                complete_fields(fields);
            }
        }
    }
    let kind = volume.as_object().map_or(0, serde_json::Map::len);
    if kind == 1 && !text(volume, &["name"]).is_empty() {
        volume["emptyDir"] = json!({});
    }
}

fn complete_fields(downward: &mut Value) {
    for item in items_mut(downward, "items") {
        if let Some(field) = item.get_mut("fieldRef") {
            default(field, "apiVersion", "v1");
        }
    }
}

#[cfg(test)]
mod tests;
