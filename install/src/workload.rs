//! Deployments of our own daemons, as templates: one shape for every component.

use crate::template::when;
use mesh_contract::{annotations, env, labels, names};

use serde_json::{Value, json};

const TOKEN_VOLUME: &str = "linkerd-identity-token";
const TOKEN_DIR: &str = "/var/run/secrets/tokens";
const ANCHORS_VOLUME: &str = "trust-roots";
const ANCHORS_DIR: &str = "/var/run/linkerd/identity/trust-roots";

/// One daemon.
pub(crate) struct Daemon<'a> {
    /// Deployment, ServiceAccount and container.
    pub(crate) name: &'a str,
    /// Namespace (a template).
    pub(crate) namespace: &'a str,
    /// Value of the component labels.
    pub(crate) component: &'a str,
    /// Labels of the Deployment and its pods.
    pub(crate) labels: &'a Value,
    /// Subcommand and flags of `mesh`.
    pub(crate) args: Vec<Value>,
    /// Port names and numbers.
    pub(crate) ports: &'a [(&'a str, u16)],
    /// Port of probes and metrics.
    pub(crate) admin_port: u16,
    /// Whether it asks the issuer for its certificate, and so mounts a token for it.
    pub(crate) identity_token: bool,
    /// Pods (a template).
    pub(crate) replicas: Value,
    /// Value that holds its requests and limits, where it has any.
    pub(crate) resources: Option<&'a str>,
    /// Whether pods are placed, rolled out and kept as the values of the control plane say. Those
    /// of the extension have one word for it, `enablePodAntiAffinity`.
    pub(crate) placed: bool,
    /// Whether the trust anchors are read from the ConfigMap that publishes them, and followed.
    pub(crate) published_anchors: bool,
}

/// Where daemons find the token they show the issuer.
pub(crate) fn token_file() -> String {
    format!("{TOKEN_DIR}/{TOKEN_VOLUME}")
}

/// Where daemons find the trust anchors.
pub(crate) fn anchors_file() -> String {
    format!("{ANCHORS_DIR}/{}", names::TRUST_ROOTS_KEY)
}

/// The Deployment, and the budget that keeps it available.
pub(crate) fn deployment(daemon: &Daemon<'_>) -> Vec<Value> {
    let mut labels = daemon.labels.clone();
    labels[labels::COMPONENT] = json!(daemon.component);
    let mut pod_labels = labels.clone();
    let mut pod_annotations = json!({
        annotations::CREATED_BY: "${release.createdBy}",
        annotations::INJECT: "disabled",
    });
    if daemon.placed {
        pod_labels["${podLabels}"] = Value::Null;
        pod_annotations["${podAnnotations}"] = Value::Null;
    }
    let selector = json!({ labels::COMPONENT: daemon.component });
    let mut spec = json!({
        "replicas": daemon.replicas,
        "selector": { "matchLabels": selector },
        "template": {
            "metadata": { "labels": pod_labels, "annotations": pod_annotations },
            "spec": pod(daemon),
        },
    });
    if daemon.placed {
        spec["revisionHistoryLimit"] = json!("${revisionHistoryLimit}");
        spec["strategy"] = when("deploymentStrategy", json!("${deploymentStrategy}"));
    } else {
        spec["strategy"] = when("enablePodAntiAffinity", one_at_a_time());
    }
    let metadata = |name: &str| {
        json!({
            "name": name,
            "namespace": daemon.namespace,
            "labels": labels,
            "annotations": { annotations::CREATED_BY: "${release.createdBy}" },
        })
    };
    let mut out = vec![json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(daemon.name),
        "spec": spec,
    })];
    let budget = json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(daemon.name),
        "spec": { "maxUnavailable": 1, "selector": { "matchLabels": selector } },
    });
    let wanted = match daemon.placed {
        true => "enablePodDisruptionBudget",
        false => "enablePodAntiAffinity",
    };
    out.push(when(wanted, budget));
    out
}

fn pod(daemon: &Daemon<'_>) -> Value {
    let mut spec = json!({
        "serviceAccountName": daemon.name,
        "securityContext": { "seccompProfile": { "type": "RuntimeDefault" } },
        "containers": [container(daemon)],
    });
    spec["affinity"] = when("enablePodAntiAffinity", affinity(daemon.component));
    if daemon.placed {
        for (field, value) in [
            ("nodeSelector", "nodeSelector"),
            ("tolerations", "tolerations"),
            ("imagePullSecrets", "imagePullSecrets"),
            ("priorityClassName", "priorityClassName"),
        ] {
            spec[field] = when(value, json!(format!("${{{value}}}")));
        }
    } else {
        spec["nodeSelector"] = json!({ "kubernetes.io/os": "linux" });
    }
    if daemon.identity_token {
        let mut volumes = vec![json!({
            "name": TOKEN_VOLUME,
            "projected": { "sources": [{ "serviceAccountToken": {
                "path": TOKEN_VOLUME,
                "audience": names::IDENTITY_AUDIENCE,
                "expirationSeconds": 86_400,
            }}]},
        })];
        if daemon.published_anchors {
            let source = json!({ "name": names::TRUST_ROOTS });
            volumes.push(json!({ "name": ANCHORS_VOLUME, "configMap": source }));
        }
        spec["volumes"] = volumes.into();
    }
    spec
}

/// A rollout of pods that are kept apart: where every node has one, the next waits for a place.
pub(crate) fn one_at_a_time() -> Value {
    json!({ "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 1, "maxSurge": "25%" } })
}

/// Never two on one node, and better not in one zone.
pub(crate) fn affinity(component: &str) -> Value {
    let apart = |topology: &str| {
        json!({
            "labelSelector": { "matchExpressions": [
                { "key": labels::COMPONENT, "operator": "In", "values": [component] },
            ]},
            "topologyKey": topology,
        })
    };
    json!({ "podAntiAffinity": {
        "preferredDuringSchedulingIgnoredDuringExecution": [
            { "weight": 100, "podAffinityTerm": apart("topology.kubernetes.io/zone") },
        ],
        "requiredDuringSchedulingIgnoredDuringExecution": [apart("kubernetes.io/hostname")],
    }})
}

fn container(daemon: &Daemon<'_>) -> Value {
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
    if daemon.identity_token {
        mounts.push(json!({ "name": TOKEN_VOLUME, "mountPath": TOKEN_DIR, "readOnly": true }));
        if daemon.published_anchors {
            let mount =
                json!({ "name": ANCHORS_VOLUME, "mountPath": ANCHORS_DIR, "readOnly": true });
            mounts.push(mount);
        } else {
            environment.push(anchors());
        }
    }
    let mut args = daemon.args.clone();
    args.extend([
        json!(format!("--admin-addr=0.0.0.0:{}", daemon.admin_port)),
        json!("--log-level=${controllerLogLevel}"),
        json!("--log-format=${controllerLogFormat}"),
    ]);
    let probe = |path: &str| json!({ "httpGet": { "path": path, "port": daemon.admin_port } });
    let mut liveness = probe("/live");
    liveness["initialDelaySeconds"] = json!(10);
    let mut readiness = probe("/ready");
    readiness["periodSeconds"] = json!(1);
    let mut container = json!({
        "name": daemon.component,
        "image": "${controllerImage}:${linkerdVersion}",
        "imagePullPolicy": "${imagePullPolicy}",
        "args": args,
        "env": environment,
        "ports": ports,
        "livenessProbe": liveness,
        "readinessProbe": readiness,
        "volumeMounts": mounts,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": { "drop": ["ALL"] },
            "readOnlyRootFilesystem": true,
            "runAsNonRoot": true,
            "runAsUser": "${controllerUID}",
        },
    });
    if let Some(value) = daemon.resources {
        container["resources"] = resources(value);
    }
    container
}

/// The trust anchors as text, for daemons outside the namespace that publishes them.
fn anchors() -> Value {
    let name = format!("{}IDENTITY_TRUST_ANCHORS", env::PREFIX);
    json!({ "name": name, "value": "${identityTrustAnchorsPEM}" })
}

/// `resources` of a container from a value in Helm users' form.
pub(crate) fn resources(value: &str) -> Value {
    let quantity = |resource: &str, kind: &str| {
        let path = format!("{value}.{resource}.{kind}");
        when(&path, json!(format!("${{{path}}}")))
    };
    let all = |kind: &str| {
        json!({
            "cpu": quantity("cpu", kind),
            "memory": quantity("memory", kind),
            "ephemeral-storage": quantity("ephemeral-storage", kind),
        })
    };
    json!({ "limits": all("limit"), "requests": all("request") })
}

/// A Service in front of a daemon; headless ones resolve to pods.
pub(crate) fn service(
    (name, namespace): (&str, &str),
    component: &str,
    labels: &Value,
    (port_name, port, target): (&str, u16, u16),
    headless: bool,
) -> Value {
    let mut spec = json!({
        "selector": { labels::COMPONENT: component },
        "ports": [{ "name": port_name, "port": port, "targetPort": target }],
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
