//! The manifests of the multicluster extension: gateway, service mirror, and the access of peers.

use crate::{
    control_plane,
    rbac::{self, READ, Rule},
    values::Values,
    workload::{self, Daemon},
};
use anyhow::bail;
use mesh_contract::{annotations, identity::WorkloadIdentity, images, labels, names, ports};
use mesh_injector::{Decision, Owner, Pod};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What the extension can be told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Namespace of the extension.
    pub namespace: String,
    /// Whether other clusters can reach services of this one.
    pub gateway: bool,
    /// Port of the gateway Service for traffic.
    pub gateway_port: u16,
    /// Port of the gateway Service for probes.
    pub gateway_probe_port: u16,
    /// Seconds between probes that importing clusters are asked to keep.
    pub gateway_probe_seconds: u32,
    /// Type of the gateway Service.
    pub gateway_service_type: String,
    /// Whether an account is made that another cluster's mirror reads this cluster with.
    pub service_mirror_credentials: bool,
}

/// Everything of the extension, in the order it must be applied.
pub fn manifests(
    options: &Options,
    values: &Values,
    control_plane_ns: &str,
) -> anyhow::Result<Vec<Value>> {
    let mut out = vec![json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": options.namespace,
            "labels": {
                labels::EXTENSION: "multicluster",
                "pod-security.kubernetes.io/enforce": "restricted",
            },
        },
    })];
    for crd in mesh_api::crds() {
        out.push(serde_json::to_value(crd)?);
    }
    if options.gateway {
        out.extend(gateway(options, values, control_plane_ns)?);
    }
    if options.service_mirror_credentials {
        out.extend(remote_access(
            names::REMOTE_ACCESS,
            &options.namespace,
            control_plane_ns,
        ));
    }
    out.extend(service_mirror(options, values, control_plane_ns));
    Ok(out)
}

fn extension_labels(component: &str) -> Value {
    json!({
        labels::EXTENSION: "multicluster",
        labels::COMPONENT: component,
        "app.kubernetes.io/part-of": "mesh",
    })
}

fn gateway(
    options: &Options,
    values: &Values,
    control_plane_ns: &str,
) -> anyhow::Result<Vec<Value>> {
    let namespace = &options.namespace;
    let mut labels = extension_labels("gateway");
    labels["app"] = json!(names::GATEWAY);
    let identity = WorkloadIdentity {
        service_account: names::GATEWAY,
        namespace,
        control_plane_ns,
        trust_domain: &values.identity_trust_domain,
    };
    let mut out = vec![rbac::service_account(names::GATEWAY, namespace, &labels)];
    out.push(json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": names::GATEWAY,
            "namespace": namespace,
            "labels": labels,
            "annotations": {
                annotations::GATEWAY_IDENTITY: identity.to_string(),
                annotations::PROBE_PERIOD: options.gateway_probe_seconds.to_string(),
                annotations::PROBE_PATH: "/ready",
                annotations::MULTICLUSTER_GATEWAY: "true",
            },
        },
        "spec": {
            "type": options.gateway_service_type,
            "selector": { "app": names::GATEWAY },
            "ports": [
                { "name": names::GATEWAY_PORT_NAME, "port": options.gateway_port,
                  "targetPort": ports::INBOUND, "protocol": "TCP" },
                { "name": names::GATEWAY_PROBE_PORT_NAME, "port": options.gateway_probe_port,
                  "targetPort": ports::ADMIN, "protocol": "TCP" },
            ],
        },
    }));
    out.extend(gateway_policy(namespace, &labels));
    out.push(gateway_deployment(
        values,
        control_plane_ns,
        namespace,
        &labels,
    )?);
    Ok(out)
}

/// Who may speak to the gateway: any meshed workload, from any network.
fn gateway_policy(namespace: &str, labels: &Value) -> Vec<Value> {
    let metadata = |name: &str| json!({ "name": name, "namespace": namespace, "labels": labels });
    let reference = |kind: &str, name: &str| json!({ "group": "policy.linkerd.io", "kind": kind, "name": name });
    vec![
        json!({
            "apiVersion": "policy.linkerd.io/v1beta3",
            "kind": "Server",
            "metadata": metadata(names::GATEWAY),
            "spec": {
                "podSelector": { "matchLabels": { "app": names::GATEWAY } },
                "port": "linkerd-proxy",
            },
        }),
        json!({
            "apiVersion": "policy.linkerd.io/v1alpha1",
            "kind": "MeshTLSAuthentication",
            "metadata": metadata("any-meshed"),
            "spec": { "identities": ["*"] },
        }),
        json!({
            "apiVersion": "policy.linkerd.io/v1alpha1",
            "kind": "NetworkAuthentication",
            "metadata": metadata("source-cluster"),
            "spec": { "networks": [{ "cidr": "0.0.0.0/0" }, { "cidr": "::/0" }] },
        }),
        json!({
            "apiVersion": "policy.linkerd.io/v1alpha1",
            "kind": "AuthorizationPolicy",
            "metadata": metadata(names::GATEWAY),
            "spec": {
                "targetRef": reference("Server", names::GATEWAY),
                "requiredAuthenticationRefs": [
                    reference("MeshTLSAuthentication", "any-meshed"),
                    reference("NetworkAuthentication", "source-cluster"),
                ],
            },
        }),
    ]
}

/// The gateway is a sidecar next to a container that does nothing.
fn gateway_deployment(
    values: &Values,
    control_plane_ns: &str,
    namespace: &str,
    labels: &Value,
) -> anyhow::Result<Value> {
    let mut template = json!({
        "metadata": {
            "labels": labels,
            "annotations": {
                annotations::INJECT: "enabled",
                annotations::ENABLE_GATEWAY: "true",
                annotations::DEFAULT_INBOUND_POLICY: "all-authenticated",
                "config.linkerd.io/proxy-require-identity-inbound-ports": "4143",
                "cluster-autoscaler.kubernetes.io/safe-to-evict": "true",
            },
        },
        "spec": {
            "serviceAccountName": names::GATEWAY,
            "securityContext": { "seccompProfile": { "type": "RuntimeDefault" } },
            "containers": [{
                "name": "pause",
                "image": format!("{}:3.10", images::PAUSE),
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "capabilities": { "drop": ["ALL"] },
                    "readOnlyRootFilesystem": true,
                    "runAsNonRoot": true,
                    "runAsUser": 2103,
                },
            }],
        },
    });
    let decision = mesh_injector::decide(
        &values.settings(control_plane_ns),
        &Pod {
            template: &template,
            namespace: Some(namespace),
            namespace_annotations: &BTreeMap::new(),
            owner: Some(Owner {
                kind: "Deployment",
                name: names::GATEWAY,
            }),
            requested: true,
        },
    )?;
    let Decision::Inject(patch) = decision else {
        bail!("the gateway's pod refuses its own sidecar");
    };
    json_patch::patch(&mut template, &patch)?;
    Ok(json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": names::GATEWAY, "namespace": namespace, "labels": labels,
            "annotations": { annotations::CREATED_BY: crate::created_by() },
        },
        "spec": {
            "replicas": 1,
            "selector": { "matchLabels": { "app": names::GATEWAY } },
            "template": template,
        },
    }))
}

/// The account another cluster's mirror uses here: services and their endpoints, and what tells
/// whether trust is shared; nothing else.
pub fn remote_access(name: &str, namespace: &str, control_plane_ns: &str) -> Vec<Value> {
    let labels = json!({ labels::EXTENSION: "multicluster" });
    let account = (name, namespace);
    let mut out = vec![rbac::service_account(name, namespace, &labels)];
    out.push(json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": format!("{name}-token"),
            "namespace": namespace,
            "labels": labels,
            "annotations": { "kubernetes.io/service-account.name": name },
        },
        "type": "kubernetes.io/service-account-token",
    }));
    out.extend(rbac::cluster_role(
        name,
        account,
        &labels,
        &[
            Rule::new("", &["services"], READ),
            Rule::new("discovery.k8s.io", &["endpointslices"], READ),
        ],
    ));
    out.extend(rbac::role(
        (name, control_plane_ns),
        account,
        &labels,
        &[Rule::new("", &["configmaps"], &["get"]).named(&[names::CONFIG, names::TRUST_ROOTS])],
    ));
    out
}

fn service_mirror(options: &Options, values: &Values, control_plane_ns: &str) -> Vec<Value> {
    let namespace = &options.namespace;
    let account = (names::SERVICE_MIRROR, namespace.as_str());
    let labels = extension_labels(names::SERVICE_MIRROR);
    let mut out = vec![rbac::service_account(
        names::SERVICE_MIRROR,
        namespace,
        &labels,
    )];
    const WRITE: &[&str] = &[
        "get", "list", "watch", "create", "update", "patch", "delete",
    ];
    out.extend(rbac::cluster_role(
        names::SERVICE_MIRROR,
        account,
        &labels,
        &[
            Rule::new("", &["services"], WRITE),
            Rule::new("discovery.k8s.io", &["endpointslices"], WRITE),
            Rule::new("", &["namespaces"], READ),
            Rule::new("events.k8s.io", &["events"], &["create", "patch"]),
        ],
    ));
    out.extend(rbac::role(
        account,
        account,
        &labels,
        &[
            Rule::new("multicluster.linkerd.io", &["links"], READ),
            Rule::new(
                "multicluster.linkerd.io",
                &["links/status"],
                &["get", "update", "patch"],
            ),
            Rule::new("multicluster.linkerd.io", &["links"], &["update", "patch"]),
            Rule::new("", &["secrets"], READ),
            Rule::new(
                "coordination.k8s.io",
                &["leases"],
                &["get", "list", "watch", "create", "update", "patch"],
            ),
        ],
    ));
    out.extend(rbac::role(
        (names::SERVICE_MIRROR, control_plane_ns),
        account,
        &labels,
        &[Rule::new("", &["configmaps"], READ).named(&[names::CONFIG, names::TRUST_ROOTS])],
    ));
    let daemon = Daemon {
        name: names::SERVICE_MIRROR,
        namespace,
        component: names::SERVICE_MIRROR,
        labels: &labels,
        args: vec![
            "mirror".into(),
            format!("--namespace={namespace}"),
            format!("--controller-namespace={control_plane_ns}"),
            format!("--trust-domain={}", values.identity_trust_domain),
            format!("--cluster-domain={}", values.cluster_domain),
            format!(
                "--identity-addr={}",
                control_plane::identity_addr(values, control_plane_ns)
            ),
            format!("--identity-token-file={}", workload::token_file()),
        ],
        ports: &[],
        admin_port: ports::MIRROR_ADMIN,
        identity_token: true,
        trust_roots: false,
        replicas: 1,
    };
    out.push(workload::deployment(values, control_plane_ns, &daemon));
    out
}
