//! What of a pod is seldom written and seldom wrong: users, tolerations, affinity, resources,
//! volumes' items, lifecycle. Called by `validate` for pods and templates.

use crate::schema::json::{at, items, text};
use crate::schema::names::{self, check};
use crate::status::Cause;
use serde_json::{Value, json};
use std::collections::HashSet;

const IDS: &str = "must be between 0 and 2147483647, inclusive";
const BACKSTEPS: &str = "must not contain '..'";
const IP: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";

/// The pod's own parts.
pub(super) fn pod(spec: &Value, field: &str, causes: &mut Vec<Cause>) {
    users(at(spec, &["securityContext"]), field, causes);
    for (i, toleration) in items(spec, &["tolerations"]).iter().enumerate() {
        tolerations(toleration, &format!("{field}.tolerations[{i}]"), causes);
    }
    for (i, alias) in items(spec, &["hostAliases"]).iter().enumerate() {
        let ip = at(alias, &["ip"]);
        if ip
            .as_str()
            .is_none_or(|ip| ip.parse::<std::net::IpAddr>().is_err())
        {
            causes.push(Cause::invalid(
                format!("{field}.hostAliases[{i}].ip"),
                ip,
                IP,
            ));
        }
    }
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    let nodes = at(spec, &["affinity", "nodeAffinity", REQUIRED]);
    if nodes.is_object() && items(nodes, &["nodeSelectorTerms"]).is_empty() {
        let field = format!("{field}.affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerms");
        causes.push(Cause::required(
            field,
            "must have at least one node selector term",
        ));
    }
    for (i, spread) in items(spec, &["topologySpreadConstraints"])
        .iter()
        .enumerate()
    {
        let skew = at(spread, &["maxSkew"]);
        if skew.as_i64().is_none_or(|n| n < 1) {
            let field = format!("{field}.topologySpreadConstraints[{i}].maxSkew");
            causes.push(Cause::invalid(field, skew, "must be greater than zero"));
        }
    }
    for (i, gate) in items(spec, &["readinessGates"]).iter().enumerate() {
        let field = format!("{field}.readinessGates[{i}].conditionType");
        check(
            causes,
            &field,
            text(gate, &["conditionType"]),
            names::qualified,
        );
    }
}

fn users(context: &Value, field: &str, causes: &mut Vec<Cause>) {
    for id in ["runAsUser", "runAsGroup", "fsGroup"] {
        let value = at(context, &[id]);
        if value
            .as_i64()
            .is_some_and(|n| !(0..=i64::from(i32::MAX)).contains(&n))
        {
            causes.push(Cause::invalid(
                format!("{field}.securityContext.{id}"),
                value,
                IDS,
            ));
        }
    }
}

fn tolerations(toleration: &Value, field: &str, causes: &mut Vec<Cause>) {
    let (operator, value) = (
        text(toleration, &["operator"]),
        text(toleration, &["value"]),
    );
    let at_operator = format!("{field}.operator");
    if text(toleration, &["key"]).is_empty() && operator != "Exists" {
        let detail = "operator must be Exists when `key` is empty, which means \"match all values \
                      and all keys\"";
        causes.push(Cause::invalid(at_operator, &json!(operator), detail));
    } else if operator == "Exists" && !value.is_empty() {
        let detail = "value must be empty when `operator` is 'Exists'";
        causes.push(Cause::invalid(at_operator, &json!(value), detail));
    }
}

/// A volume's own parts.
pub(super) fn volume(volume: &Value, field: &str, causes: &mut Vec<Cause>) {
    let host = at(volume, &["hostPath"]);
    if host.is_object() {
        let field = format!("{field}.hostPath.path");
        match text(host, &["path"]) {
            "" => causes.push(Cause::required(field, "")),
            path => backsteps(path, &field, causes),
        }
    }
    for kind in ["configMap", "secret"] {
        let source = at(volume, &[kind]);
        let field = format!("{field}.{kind}");
        if kind == "configMap" && source.is_object() && text(source, &["name"]).is_empty() {
            causes.push(Cause::required(format!("{field}.name"), ""));
        }
        let mode = at(source, &["defaultMode"]);
        if mode.as_i64().is_some_and(|m| !(0..=0o777).contains(&m)) {
            let detail = "must be a number between 0 and 0777 (octal), both inclusive";
            causes.push(Cause::invalid(format!("{field}.defaultMode"), mode, detail));
        }
        for (i, item) in items(source, &["items"]).iter().enumerate() {
            let field = format!("{field}.items[{i}]");
            if text(item, &["key"]).is_empty() {
                causes.push(Cause::required(format!("{field}.key"), ""));
            }
            match text(item, &["path"]) {
                "" => causes.push(Cause::required(format!("{field}.path"), "")),
                path => backsteps(path, &format!("{field}.path"), causes),
            }
        }
    }
    for item in items(volume, &["downwardAPI", "items"]) {
        if at(item, &["fieldRef"]).is_null() && at(item, &["resourceFieldRef"]).is_null() {
            let detail = "one of fieldRef and resourceFieldRef is required";
            causes.push(Cause::required(format!("{field}.downwardAPI"), detail));
        }
    }
}

fn backsteps(path: &str, field: &str, causes: &mut Vec<Cause>) {
    if path.split('/').any(|part| part == "..") {
        causes.push(Cause::invalid(field, &json!(path), BACKSTEPS));
    }
}

/// A container's own parts.
pub(super) fn container(container: &Value, field: &str, causes: &mut Vec<Cause>) {
    users(at(container, &["securityContext"]), field, causes);
    for hook in ["postStart", "preStop"] {
        let handler = at(container, &["lifecycle", hook]);
        if handler.as_object().is_some_and(serde_json::Map::is_empty) {
            let field = format!("{field}.lifecycle.{hook}");
            causes.push(Cause::required(field, "must specify a handler type"));
        }
    }
    let policy = at(container, &["terminationMessagePolicy"]);
    let allowed = &["File", "FallbackToLogsOnError"];
    if !policy.is_null() && !allowed.iter().any(|a| policy == a) {
        let field = format!("{field}.terminationMessagePolicy");
        causes.push(Cause::unsupported(field, policy, allowed));
    }
    let restart = at(container, &["restartPolicy"]);
    let allowed = &["Always", "Never", "OnFailure"];
    if !restart.is_null() && !allowed.iter().any(|a| restart == a) {
        let field = format!("{field}.restartPolicy");
        causes.push(Cause::unsupported(field, restart, allowed));
    }
    for source in items(container, &["envFrom"]) {
        if at(source, &["configMapRef"]).is_null() && at(source, &["secretRef"]).is_null() {
            let detail = "must specify one of: `configMapRef` or `secretRef`";
            causes.push(Cause::invalid(
                format!("{field}.envFrom"),
                &json!(""),
                detail,
            ));
        }
    }
    for mount in items(container, &["volumeMounts"]) {
        let path = text(mount, &["subPath"]);
        backsteps(path, &format!("{field}.volumeMounts.subPath"), causes);
    }
    field_paths(container, field, causes);
    host_ports(container, field, causes);
    resources(
        at(container, &["resources"]),
        &format!("{field}.resources"),
        causes,
    );
}

/// Fields of a pod its containers may be told.
fn field_paths(container: &Value, field: &str, causes: &mut Vec<Cause>) {
    const KNOWN: &[&str] = &[
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "metadata.labels",
        "metadata.annotations",
        "spec.nodeName",
        "spec.serviceAccountName",
        "status.hostIP",
        "status.hostIPs",
        "status.podIP",
        "status.podIPs",
    ];
    for (i, variable) in items(container, &["env"]).iter().enumerate() {
        let path = text(variable, &["valueFrom", "fieldRef", "fieldPath"]);
        let plain = path.split('[').next().unwrap_or_default();
        if !path.is_empty() && !KNOWN.contains(&plain) {
            let field = format!("{field}.env[{i}].valueFrom.fieldRef.fieldPath");
            let detail = format!("error converting fieldPath: field label not supported: {path}");
            causes.push(Cause::invalid(field, &json!(path), &detail));
        }
    }
}

fn host_ports(container: &Value, field: &str, causes: &mut Vec<Cause>) {
    let mut seen = HashSet::new();
    for (i, port) in items(container, &["ports"]).iter().enumerate() {
        let number = at(port, &["hostPort"]).as_i64().unwrap_or(0);
        let (protocol, ip) = (text(port, &["protocol"]), text(port, &["hostIP"]));
        if number > 0 && !seen.insert((number, protocol, ip)) {
            let value = json!(format!("{protocol}/{ip}/{number}"));
            causes.push(Cause::duplicate(
                format!("{field}.ports[{i}].hostPort"),
                &value,
            ));
        }
    }
}

fn resources(resources: &Value, field: &str, causes: &mut Vec<Cause>) {
    let amounts = |of: &str| {
        at(resources, &[of])
            .as_object()
            .cloned()
            .unwrap_or_default()
    };
    let (limits, requests) = (amounts("limits"), amounts("requests"));
    for (of, all) in [("limits", &limits), ("requests", &requests)] {
        for (resource, amount) in all {
            let field = format!("{field}.{of}[{resource}]");
            if amount.as_str().is_some_and(|a| a.starts_with('-')) {
                let detail = "must be greater than or equal to 0";
                causes.push(Cause::invalid(field.clone(), amount, detail));
            }
            let known = ["cpu", "memory", "ephemeral-storage"].contains(&resource.as_str());
            if !known && !resource.contains('/') && !resource.starts_with("hugepages-") {
                for detail in [
                    "must be a standard resource type or fully qualified",
                    "must be a standard resource for containers",
                ] {
                    causes.push(Cause::invalid(field.clone(), &json!(resource), detail));
                }
            }
        }
    }
    for (resource, asked) in &requests {
        let most = limits
            .get(resource)
            .and_then(Value::as_str)
            .and_then(amount);
        let least = asked.as_str().and_then(amount);
        if let (Some(most), Some(least), Some(limit)) = (most, least, limits.get(resource))
            && least > most
        {
            let limit = limit.as_str().unwrap_or_default();
            let detail = format!("must be less than or equal to {resource} limit of {limit}");
            causes.push(Cause::invalid(format!("{field}.requests"), asked, &detail));
        }
    }
}

/// A quantity as a number, good enough to compare two.
fn amount(text: &str) -> Option<f64> {
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let power = |base: f64, letters: &str| {
        let place = letters.find(suffix.chars().next()?)?;
        Some(base.powi(i32::try_from(place).ok()? + 1))
    };
    let factor = match suffix {
        "" => 1.0,
        "m" => 1e-3,
        _ if suffix.ends_with('i') => power(1024.0, "KMGTPE")?,
        _ => power(1000.0, "kMGTPE")?,
    };
    number.parse::<f64>().ok().map(|n| n * factor)
}
