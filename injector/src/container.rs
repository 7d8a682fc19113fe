//! The sidecar container and the volumes it needs.

use crate::{overrides::Effective, settings::Settings};
use mesh_contract::{env, names, ports};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const TOKEN_VOLUME: &str = "linkerd-identity-token";
const TOKEN_DIR: &str = "/var/run/secrets/tokens";
const END_ENTITY_VOLUME: &str = "linkerd-identity-end-entity";
const END_ENTITY_DIR: &str = "/var/run/linkerd/identity/end-entity";
/// Uid the sidecar runs as; redirection exempts its traffic by it.
const PROXY_UID: u32 = 2102;

/// The volumes the sidecar mounts.
pub(crate) fn volumes() -> Vec<Value> {
    vec![
        json!({
            "name": END_ENTITY_VOLUME,
            "emptyDir": { "medium": "Memory" },
        }),
        json!({
            "name": TOKEN_VOLUME,
            "projected": { "sources": [{ "serviceAccountToken": {
                "path": TOKEN_VOLUME,
                "audience": names::IDENTITY_AUDIENCE,
                "expirationSeconds": 86_400,
            }}]},
        }),
    ]
}

/// The sidecar for a pod whose containers listen on `app_ports`.
pub(crate) fn proxy(
    settings: &Settings,
    effective: &Effective,
    app_ports: &BTreeSet<u16>,
) -> Value {
    let mut container = json!({
        "name": names::PROXY_CONTAINER,
        "image": effective.image,
        "imagePullPolicy": "IfNotPresent",
        "env": environment(settings, effective, app_ports),
        "ports": [
            { "name": "linkerd-proxy", "containerPort": ports::INBOUND, "protocol": "TCP" },
            { "name": "linkerd-admin", "containerPort": ports::ADMIN, "protocol": "TCP" },
        ],
        "livenessProbe": {
            "httpGet": { "path": "/live", "port": ports::ADMIN },
            "initialDelaySeconds": 10,
        },
        "readinessProbe": {
            "httpGet": { "path": "/ready", "port": ports::ADMIN },
            "initialDelaySeconds": 0,
            "periodSeconds": 2,
        },
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": { "drop": ["ALL"] },
            "readOnlyRootFilesystem": true,
            "runAsNonRoot": true,
            "runAsUser": PROXY_UID,
            "runAsGroup": PROXY_UID,
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            { "name": END_ENTITY_VOLUME, "mountPath": END_ENTITY_DIR },
            { "name": TOKEN_VOLUME, "mountPath": TOKEN_DIR, "readOnly": true },
        ],
    });
    if !effective.resources.is_empty() {
        container["resources"] = json!(effective.resources);
    }
    if let Some(seconds) = effective.wait_before_exit {
        container["lifecycle"] = json!({ "preStop": { "sleep": { "seconds": seconds } } });
    }
    container
}

/// Environment in an order in which every `$(NAME)` refers to an earlier entry.
fn environment(settings: &Settings, effective: &Effective, app_ports: &BTreeSet<u16>) -> Value {
    let mut list = Vec::new();
    for (name, field) in [
        ("_pod_name", "metadata.name"),
        ("_pod_ns", "metadata.namespace"),
        ("_pod_uid", "metadata.uid"),
        ("_pod_nodeName", "spec.nodeName"),
        ("_pod_sa", "spec.serviceAccountName"),
        ("_pod_ips", "status.podIPs"),
    ] {
        list.push(json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": field } } }));
    }
    let mut set = |name: &str, value: String| {
        list.push(json!({ "name": format!("{}{name}", env::PREFIX), "value": value }));
    };
    for (name, value) in &effective.env {
        set(name, value.clone());
    }
    control_plane(settings, &mut set);
    listeners(settings, effective, app_ports, &mut set);
    identity(settings, &mut set);
    Value::Array(list)
}

fn control_plane(settings: &Settings, set: &mut impl FnMut(&str, String)) {
    let identity = settings.control_identity(names::IDENTITY);
    let destination = settings.control_identity(names::DESTINATION);
    for (group, service, port, name) in [
        (
            "IDENTITY",
            names::IDENTITY_HEADLESS,
            ports::IDENTITY,
            &identity,
        ),
        (
            "DESTINATION",
            names::DST_HEADLESS,
            ports::DESTINATION,
            &destination,
        ),
        ("POLICY", names::POLICY, ports::POLICY, &destination),
    ] {
        set(
            &format!("{group}_SVC_ADDR"),
            settings.control_addr(service, port),
        );
        set(&format!("{group}_SVC_NAME"), name.clone());
    }
    set("CONTROL_STREAM_INITIAL_TIMEOUT", "3s".into());
    set("CONTROL_STREAM_IDLE_TIMEOUT", "5m".into());
    set("CONTROL_STREAM_LIFETIME", "1h".into());
    set(
        "DESTINATION_PROFILE_SUFFIXES",
        format!("svc.{}.", settings.cluster_domain),
    );
    set(
        "DESTINATION_PROFILE_NETWORKS",
        settings.cluster_networks.clone(),
    );
    set("POLICY_CLUSTER_NETWORKS", settings.cluster_networks.clone());
    set(
        "POLICY_WORKLOAD",
        r#"{"ns":"$(_pod_ns)","pod":"$(_pod_name)"}"#.into(),
    );
    set(
        "DESTINATION_CONTEXT",
        r#"{"ns":"$(_pod_ns)","nodeName":"$(_pod_nodeName)","pod":"$(_pod_name)"}"#.into(),
    );
}

fn listeners(
    settings: &Settings,
    effective: &Effective,
    app_ports: &BTreeSet<u16>,
    set: &mut impl FnMut(&str, String),
) {
    set(
        "OUTBOUND_LISTEN_ADDR",
        format!("127.0.0.1:{}", ports::OUTBOUND),
    );
    set("INBOUND_LISTEN_ADDR", format!("0.0.0.0:{}", ports::INBOUND));
    set("CONTROL_LISTEN_ADDR", format!("0.0.0.0:{}", ports::CONTROL));
    set("ADMIN_LISTEN_ADDR", format!("0.0.0.0:{}", ports::ADMIN));
    set("INBOUND_IPS", "$(_pod_ips)".into());
    let app_ports: Vec<_> = app_ports.iter().map(u16::to_string).collect();
    set("INBOUND_PORTS", app_ports.join(","));
    set("INBOUND_ACCEPT_KEEPALIVE", "10s".into());
    set("INBOUND_ACCEPT_USER_TIMEOUT", "30s".into());
    set("OUTBOUND_CONNECT_KEEPALIVE", "10s".into());
    set("OUTBOUND_CONNECT_USER_TIMEOUT", "30s".into());
    if effective.gateway {
        set(
            "INBOUND_GATEWAY_SUFFIXES",
            format!("svc.{}.", settings.cluster_domain),
        );
    }
}

fn identity(settings: &Settings, set: &mut impl FnMut(&str, String)) {
    set("IDENTITY_DIR", END_ENTITY_DIR.into());
    set("IDENTITY_TRUST_ANCHORS", settings.trust_anchors.clone());
    set("IDENTITY_TOKEN_FILE", format!("{TOKEN_DIR}/{TOKEN_VOLUME}"));
    set(
        "IDENTITY_LOCAL_NAME",
        format!(
            "$(_pod_sa).$(_pod_ns).serviceaccount.identity.{}.{}",
            settings.control_plane_ns, settings.trust_domain
        ),
    );
}
