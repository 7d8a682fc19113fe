//! The containers the decision adds, and the volumes they need.

mod environment;
mod init;

pub(crate) use self::init::init;

use crate::{overrides::Effective, settings::Settings};
use mesh_contract::names;
use serde_json::{Value, json};

const TOKEN_VOLUME: &str = "linkerd-identity-token";
const TOKEN_DIR: &str = "/var/run/secrets/tokens";
const END_ENTITY_VOLUME: &str = "linkerd-identity-end-entity";
/// Where sidecar images, ours and Linkerd's, have the program that waits for the sidecar.
const AWAIT: &str = "/usr/lib/linkerd/linkerd-await";

/// Volumes by the names they are added, and removed, under.
pub(crate) const VOLUMES: &[&str] = &[END_ENTITY_VOLUME, TOKEN_VOLUME];
/// Containers likewise.
pub(crate) const CONTAINERS: &[&str] = &[names::PROXY_CONTAINER, names::INIT_CONTAINER];

/// The volumes the sidecar mounts: keys stay in memory, and the token is for the issuer alone.
pub(crate) fn volumes() -> [Value; 2] {
    [
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
pub(crate) fn proxy(settings: &Settings, effective: &Effective, app_ports: &str) -> Value {
    let proxy = &effective.proxy;
    let admin = proxy.ports.admin;
    let gid = u32::try_from(proxy.gid).unwrap_or(proxy.uid);
    let mut container = json!({
        "name": names::PROXY_CONTAINER,
        "image": effective.image,
        "imagePullPolicy": effective.pull_policy,
        "env": environment::environment(settings, effective, app_ports),
        "ports": [
            { "name": "linkerd-proxy", "containerPort": proxy.ports.inbound, "protocol": "TCP" },
            { "name": "linkerd-admin", "containerPort": admin, "protocol": "TCP" },
        ],
        "livenessProbe": {
            "httpGet": { "path": "/live", "port": admin },
            "initialDelaySeconds": 10,
        },
        "readinessProbe": {
            "httpGet": { "path": "/ready", "port": admin },
            "initialDelaySeconds": 0,
            "periodSeconds": 2,
        },
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": { "drop": ["ALL"] },
            "readOnlyRootFilesystem": true,
            "runAsNonRoot": true,
            "runAsUser": proxy.uid,
            "runAsGroup": gid,
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            { "name": END_ENTITY_VOLUME, "mountPath": names::END_ENTITY_DIR },
            { "name": TOKEN_VOLUME, "mountPath": TOKEN_DIR, "readOnly": true },
        ],
    });
    let resources = proxy.resources.to_json();
    if !resources.is_empty() {
        container["resources"] = json!(resources);
    }
    if proxy.native_sidecar {
        container["restartPolicy"] = json!("Always");
        container["startupProbe"] = json!({
            "httpGet": { "path": "/ready", "port": admin },
            "periodSeconds": 1,
            "failureThreshold": 120,
        });
    }
    if let Some(lifecycle) = lifecycle(effective) {
        container["lifecycle"] = lifecycle;
    }
    container
}

/// What happens at the sidecar's start and end. A native sidecar needs no hook at its start: its
/// startup probe holds the rest of the pod back.
fn lifecycle(effective: &Effective) -> Option<Value> {
    let proxy = &effective.proxy;
    let mut lifecycle = serde_json::Map::new();
    if proxy.await_ready && !proxy.native_sidecar {
        let port = format!("--port={}", proxy.ports.admin);
        let command = json!([AWAIT, "--timeout=2m", port]);
        lifecycle.insert(
            "postStart".into(),
            json!({ "exec": { "command": command } }),
        );
    }
    if proxy.wait_before_exit_seconds > 0 {
        let seconds = proxy.wait_before_exit_seconds;
        lifecycle.insert("preStop".into(), json!({ "sleep": { "seconds": seconds } }));
    }
    (!lifecycle.is_empty()).then(|| lifecycle.into())
}
