//! Deployments of our own daemons: one shape for identity, destination and mirror.

use crate::values::Values;
use mesh_contract::{env, labels, names};
use serde_json::{Value, json};

const TOKEN_VOLUME: &str = "linkerd-identity-token";
const TOKEN_DIR: &str = "/var/run/secrets/tokens";
const ROOTS_VOLUME: &str = "trust-roots";
const ROOTS_DIR: &str = "/var/run/trust-roots";
/// Uid of control-plane processes.
const CONTROLLER_UID: u32 = 2103;

/// One daemon of the control plane.
pub struct Daemon<'a> {
    /// Deployment, ServiceAccount and container.
    pub name: &'a str,
    pub namespace: &'a str,
    /// Value of the component labels.
    pub component: &'a str,
    /// Labels of the Deployment and its pods.
    pub labels: &'a Value,
    /// Subcommand and flags of `mesh`.
    pub args: Vec<String>,
    /// Port names and numbers.
    pub ports: &'a [(&'a str, u16)],
    pub admin_port: u16,
    /// Whether it asks the issuer for its certificate, and so mounts a token for it.
    pub identity_token: bool,
    /// Whether the ConfigMap with the trust anchors is in its namespace: then it is mounted, and a
    /// changed one is followed; elsewhere the anchors are told in the environment.
    pub trust_roots: bool,
    pub replicas: u32,
}

/// Where daemons find the token they show the issuer.
pub fn token_file() -> String {
    format!("{TOKEN_DIR}/{TOKEN_VOLUME}")
}

/// Where daemons find the trust anchors that are mounted for them.
pub fn trust_roots_file() -> String {
    format!("{ROOTS_DIR}/{}", names::TRUST_ROOTS_KEY)
}

/// Renders the Deployment.
pub fn deployment(values: &Values, control_plane_ns: &str, daemon: &Daemon<'_>) -> Value {
    let mut pod_labels = daemon.labels.clone();
    pod_labels[labels::COMPONENT] = json!(daemon.component);
    let selector = json!({ labels::COMPONENT: daemon.component });
    let mut spec = json!({
        "serviceAccountName": daemon.name,
        "securityContext": { "seccompProfile": { "type": "RuntimeDefault" } },
        "nodeSelector": { "kubernetes.io/os": "linux" },
        "containers": [container(values, daemon)],
    });
    let volumes = volumes(daemon);
    if !volumes.is_empty() {
        spec["volumes"] = volumes.into();
    }
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": daemon.name,
            "namespace": daemon.namespace,
            "labels": pod_labels,
            "annotations": { mesh_contract::annotations::CREATED_BY: crate::created_by() },
        },
        "spec": {
            "replicas": daemon.replicas,
            "selector": { "matchLabels": selector },
            "template": {
                "metadata": {
                    "labels": pod_labels,
                    "annotations": {
                        mesh_contract::annotations::CREATED_BY: crate::created_by(),
                        "federation.mesh.io/control-plane": control_plane_ns,
                    },
                },
                "spec": spec,
            },
        },
    })
}

fn volumes(daemon: &Daemon<'_>) -> Vec<Value> {
    let token = json!({
        "name": TOKEN_VOLUME,
        "projected": { "sources": [{ "serviceAccountToken": {
            "path": TOKEN_VOLUME,
            "audience": names::IDENTITY_AUDIENCE,
            "expirationSeconds": 86_400,
        }}]},
    });
    let roots = json!({ "name": ROOTS_VOLUME, "configMap": { "name": names::TRUST_ROOTS } });
    [(daemon.identity_token, token), (daemon.trust_roots, roots)]
        .into_iter()
        .filter_map(|(wanted, volume)| wanted.then_some(volume))
        .collect()
}

fn container(values: &Values, daemon: &Daemon<'_>) -> Value {
    let mut ports: Vec<_> = daemon
        .ports
        .iter()
        .map(|(name, port)| json!({ "name": name, "containerPort": port }))
        .collect();
    ports.push(json!({ "name": "admin-http", "containerPort": daemon.admin_port }));
    let field = |name: &str, path: &str| json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path } } });
    let mut environment = vec![
        field("POD_NAME", "metadata.name"),
        field("POD_NAMESPACE", "metadata.namespace"),
        field("POD_SERVICE_ACCOUNT", "spec.serviceAccountName"),
    ];
    let mut mounts = Vec::new();
    if daemon.trust_roots {
        mounts.push(json!({ "name": ROOTS_VOLUME, "mountPath": ROOTS_DIR, "readOnly": true }));
    } else if daemon.identity_token {
        environment.push(json!({
            "name": format!("{}IDENTITY_TRUST_ANCHORS", env::PREFIX),
            "value": values.identity_trust_anchors_pem,
        }));
    }
    if daemon.identity_token {
        mounts.push(json!({ "name": TOKEN_VOLUME, "mountPath": TOKEN_DIR, "readOnly": true }));
    }
    let mut args = daemon.args.clone();
    args.extend([
        format!("--admin-addr=0.0.0.0:{}", daemon.admin_port),
        format!("--log-level={}", values.controller_log_level),
        format!("--log-format={}", values.controller_log_format),
    ]);
    let probe = |path: &str| json!({ "httpGet": { "path": path, "port": daemon.admin_port } });
    let mut liveness = probe("/live");
    liveness["initialDelaySeconds"] = json!(10);
    let mut readiness = probe("/ready");
    readiness["periodSeconds"] = json!(1);
    json!({
        "name": daemon.component,
        "image": values.controller_image,
        "imagePullPolicy": "IfNotPresent",
        "args": args,
        "env": environment,
        "ports": ports,
        "livenessProbe": liveness,
        "readinessProbe": readiness,
        "volumeMounts": mounts,
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": { "drop": ["ALL"] },
            "readOnlyRootFilesystem": true,
            "runAsNonRoot": true,
            "runAsUser": CONTROLLER_UID,
        },
    })
}

/// A Service in front of a daemon; headless ones resolve to pods.
pub fn service(
    (name, namespace): (&str, &str),
    component: &str,
    labels: &Value,
    (port_name, port): (&str, u16),
    headless: bool,
) -> Value {
    let mut spec = json!({
        "selector": { labels::COMPONENT: component },
        "ports": [{ "name": port_name, "port": port, "targetPort": port }],
    });
    if headless {
        spec["clusterIP"] = json!("None");
    }
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": name, "namespace": namespace, "labels": labels },
        "spec": spec,
    })
}
