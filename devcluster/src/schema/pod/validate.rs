//! Whether a pod spec makes sense. Pure.

use crate::schema::json::{at, items, text};
use crate::schema::names::{self, check};
use crate::status::Cause;
use serde_json::{Value, json};
use std::collections::HashSet;

/// Checks a pod spec at `field` (`spec`, `spec.template.spec`). A template of something that
/// keeps pods running must restart them `Always`.
pub(in crate::schema) fn validate_spec(
    spec: &Value,
    field: &str,
    template: bool,
    causes: &mut Vec<Cause>,
) {
    let volumes = volumes(spec, field, causes);
    let containers = items(spec, &["containers"]);
    if containers.is_empty() {
        causes.push(Cause::required(format!("{field}.containers"), ""));
    }
    let mut names = HashSet::new();
    for list in ["initContainers", "containers"] {
        for (i, container) in items(spec, &[list]).iter().enumerate() {
            let field = format!("{field}.{list}[{i}]");
            let name = text(container, &["name"]);
            if !name.is_empty() && !names.insert(name) {
                causes.push(Cause::duplicate(format!("{field}.name"), &json!(name)));
            }
            let init = list == "initContainers";
            validate_container(container, &field, init, &volumes, causes);
        }
    }
    policies(spec, field, template, causes);
    super::rare::pod(spec, field, causes);
    let account = text(spec, &["serviceAccountName"]);
    if !account.is_empty() {
        check(
            causes,
            &format!("{field}.serviceAccountName"),
            account,
            names::subdomain,
        );
    }
    for name in ["hostname", "subdomain"] {
        let value = text(spec, &[name]);
        if !value.is_empty() {
            check(causes, &format!("{field}.{name}"), value, names::label);
        }
    }
    crate::schema::meta::labels(
        at(spec, &["nodeSelector"]),
        &format!("{field}.nodeSelector"),
        causes,
    );
}

fn policies(spec: &Value, field: &str, template: bool, causes: &mut Vec<Cause>) {
    let restart = text(spec, &["restartPolicy"]);
    let allowed: &[&str] = if template {
        &["Always"]
    } else {
        &["Always", "OnFailure", "Never"]
    };
    if !allowed.contains(&restart) {
        let field = format!("{field}.restartPolicy");
        causes.push(Cause::unsupported(field, &json!(restart), allowed));
    }
    let dns = text(spec, &["dnsPolicy"]);
    let allowed = &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    if !allowed.contains(&dns) {
        causes.push(Cause::unsupported(
            format!("{field}.dnsPolicy"),
            &json!(dns),
            allowed,
        ));
    }
    let grace = at(spec, &["terminationGracePeriodSeconds"]);
    if grace.as_i64().is_some_and(|n| n < 0) {
        let field = format!("{field}.terminationGracePeriodSeconds");
        causes.push(Cause::invalid(
            field,
            grace,
            "must be greater than or equal to 0",
        ));
    }
    let deadline = at(spec, &["activeDeadlineSeconds"]);
    if deadline.as_i64().is_some_and(|n| n < 1) {
        let field = format!("{field}.activeDeadlineSeconds");
        causes.push(Cause::invalid(
            field,
            deadline,
            "must be between 1 and 2147483647, inclusive",
        ));
    }
}

/// Names of the volumes.
fn volumes<'a>(spec: &'a Value, field: &str, causes: &mut Vec<Cause>) -> HashSet<&'a str> {
    let mut seen = HashSet::new();
    for (i, volume) in items(spec, &["volumes"]).iter().enumerate() {
        let field = format!("{field}.volumes[{i}]");
        let name = text(volume, &["name"]);
        if name.is_empty() {
            causes.push(Cause::required(format!("{field}.name"), ""));
        } else {
            check(causes, &format!("{field}.name"), name, names::label);
            if !seen.insert(name) {
                causes.push(Cause::duplicate(format!("{field}.name"), &json!(name)));
            }
        }
        let sources = volume.as_object().map_or(0, |v| v.len().saturating_sub(1));
        if sources > 1 {
            let detail = "may not specify more than 1 volume type";
            causes.push(Cause::forbidden(field.clone(), detail));
        }
        let secret = at(volume, &["secret"]);
        if secret.is_object() && text(secret, &["secretName"]).is_empty() {
            causes.push(Cause::required(format!("{field}.secret.secretName"), ""));
        }
        validate_tokens(volume, &field, causes);
        super::rare::volume(volume, &field, causes);
    }
    seen
}

fn validate_tokens(volume: &Value, field: &str, causes: &mut Vec<Cause>) {
    for (i, source) in items(volume, &["projected", "sources"]).iter().enumerate() {
        let token = at(source, &["serviceAccountToken"]);
        if token.is_null() {
            continue;
        }
        let field = format!("{field}.projected.sources[{i}].serviceAccountToken");
        let seconds = at(token, &["expirationSeconds"]);
        if seconds.as_i64().is_some_and(|n| n < 600) {
            let detail = "may not specify a duration less than 10 minutes";
            causes.push(Cause::invalid(
                format!("{field}.expirationSeconds"),
                seconds,
                detail,
            ));
        }
        if text(token, &["path"]).is_empty() {
            causes.push(Cause::required(format!("{field}.path"), ""));
        }
    }
}

fn validate_container(
    container: &Value,
    field: &str,
    init: bool,
    volumes: &HashSet<&str>,
    causes: &mut Vec<Cause>,
) {
    let name = text(container, &["name"]);
    if name.is_empty() {
        causes.push(Cause::required(format!("{field}.name"), ""));
    } else {
        check(causes, &format!("{field}.name"), name, names::label);
    }
    let image = text(container, &["image"]);
    if image.is_empty() {
        causes.push(Cause::required(format!("{field}.image"), ""));
    } else if image.trim() != image {
        let detail = "must not have leading or trailing whitespace";
        causes.push(Cause::invalid(
            format!("{field}.image"),
            &json!(image),
            detail,
        ));
    }
    let policy = text(container, &["imagePullPolicy"]);
    let allowed = &["Always", "IfNotPresent", "Never"];
    if !allowed.contains(&policy) {
        causes.push(Cause::unsupported(
            format!("{field}.imagePullPolicy"),
            &json!(policy),
            allowed,
        ));
    }
    ports(container, field, causes);
    environment(container, field, causes);
    mounts(container, field, volumes, causes);
    super::rare::container(container, field, causes);
    let sidecar = container["restartPolicy"] == "Always";
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let value = at(container, &[probe]);
        if value.is_null() {
            continue;
        }
        let field = format!("{field}.{probe}");
        if init && !sidecar {
            let detail = "may not be set for init containers without restartPolicy=Always";
            causes.push(Cause::forbidden(field, detail));
        } else {
            validate_probe(value, &field, probe, causes);
        }
    }
}

fn ports(container: &Value, field: &str, causes: &mut Vec<Cause>) {
    let mut seen = HashSet::new();
    for (i, port) in items(container, &["ports"]).iter().enumerate() {
        let field = format!("{field}.ports[{i}]");
        let name = text(port, &["name"]);
        if !name.is_empty() {
            check(causes, &format!("{field}.name"), name, names::port_name);
            if !seen.insert(name) {
                causes.push(Cause::duplicate(format!("{field}.name"), &json!(name)));
            }
        }
        let number = at(port, &["containerPort"]).as_i64().unwrap_or_default();
        if number == 0 {
            causes.push(Cause::required(format!("{field}.containerPort"), ""));
        } else {
            for detail in names::port_number(number) {
                let at = format!("{field}.containerPort");
                causes.push(Cause::invalid(at, &json!(number), &detail));
            }
        }
        let protocol = text(port, &["protocol"]);
        let allowed = &["SCTP", "TCP", "UDP"];
        if !allowed.contains(&protocol) {
            let at = format!("{field}.protocol");
            causes.push(Cause::unsupported(at, &json!(protocol), allowed));
        }
    }
}

fn environment(container: &Value, field: &str, causes: &mut Vec<Cause>) {
    for (i, variable) in items(container, &["env"]).iter().enumerate() {
        let field = format!("{field}.env[{i}]");
        let name = text(variable, &["name"]);
        if name.is_empty() {
            causes.push(Cause::required(format!("{field}.name"), ""));
        } else if name.contains('=') || !name.bytes().all(|b| (0x20..0x7f).contains(&b)) {
            let detail = "a valid environment variable name must consist only of printable ASCII \
                          characters other than '='";
            causes.push(Cause::invalid(
                format!("{field}.name"),
                &json!(name),
                detail,
            ));
        }
        let from = at(variable, &["valueFrom"]);
        if from.is_null() {
            continue;
        }
        let sources = from.as_object().map_or(0, serde_json::Map::len);
        let field = format!("{field}.valueFrom");
        if sources == 0 {
            let detail = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` \
                          or `secretKeyRef`";
            causes.push(Cause::invalid(field, &json!(""), detail));
        } else if sources > 1 || !text(variable, &["value"]).is_empty() {
            let detail = "may not be specified when `value` is not empty, nor with another source";
            causes.push(Cause::invalid(field, &json!(""), detail));
        }
    }
}

fn mounts(container: &Value, field: &str, volumes: &HashSet<&str>, causes: &mut Vec<Cause>) {
    let mut seen = HashSet::new();
    for (i, mount) in items(container, &["volumeMounts"]).iter().enumerate() {
        let field = format!("{field}.volumeMounts[{i}]");
        let name = text(mount, &["name"]);
        if name.is_empty() {
            causes.push(Cause::required(format!("{field}.name"), ""));
        } else if !volumes.contains(name) {
            let message = format!("Not found: {name:?}");
            let field = format!("{field}.name");
            causes.push(Cause {
                reason: "FieldValueNotFound",
                message,
                field,
            });
        }
        let path = text(mount, &["mountPath"]);
        if path.is_empty() {
            causes.push(Cause::required(format!("{field}.mountPath"), ""));
        } else if !seen.insert(path) {
            let at = format!("{field}.mountPath");
            causes.push(Cause::invalid(at, &json!(path), "must be unique"));
        }
    }
}

fn validate_probe(probe: &Value, field: &str, kind: &str, causes: &mut Vec<Cause>) {
    let handlers = ["exec", "httpGet", "tcpSocket", "grpc"];
    let given = handlers
        .iter()
        .filter(|h| !at(probe, &[**h]).is_null())
        .count();
    if given == 0 {
        causes.push(Cause::required(field, "must specify a handler type"));
    } else if given > 1 {
        causes.push(Cause::forbidden(
            field,
            "may not specify more than 1 handler type",
        ));
    }
    let numbers = [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ];
    for number in numbers {
        let value = at(probe, &[number]);
        if value.as_i64().is_some_and(|n| n < 0) {
            let detail = "must be greater than or equal to 0";
            causes.push(Cause::invalid(format!("{field}.{number}"), value, detail));
        }
    }
    let successes = at(probe, &["successThreshold"]);
    if kind != "readinessProbe" && successes.as_i64().is_some_and(|n| n != 1) {
        causes.push(Cause::invalid(
            format!("{field}.successThreshold"),
            successes,
            "must be 1",
        ));
    }
    for handler in ["httpGet", "tcpSocket", "grpc"] {
        let handler_value = at(probe, &[handler]);
        if handler_value.is_object() {
            let port = at(handler_value, &["port"]);
            probe_port(port, &format!("{field}.{handler}.port"), causes);
        }
    }
}

fn probe_port(port: &Value, field: &str, causes: &mut Vec<Cause>) {
    match port.as_i64() {
        Some(number) => {
            for detail in names::port_number(number) {
                causes.push(Cause::invalid(field, port, &detail));
            }
        }
        None => check(
            causes,
            field,
            port.as_str().unwrap_or_default(),
            names::port_name,
        ),
    }
}
