//! The gateway: a sidecar other clusters reach, its Service, and who may speak to it.

use super::{NAMESPACE, extension_labels};
use crate::{rbac, template::when, values, workload};
use anyhow::bail;
use mesh_contract::{annotations, names, ports};
use mesh_injector::{Decision, Owner, Pod};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Everything of it; its pod gets its sidecar from [`inject`] or from the webhook.
pub(super) fn templates() -> Vec<Value> {
    let mut labels = extension_labels("gateway");
    labels["app"] = json!(names::GATEWAY);
    let identity = format!(
        "{}.{NAMESPACE}.serviceaccount.identity.${{linkerdNamespace}}.${{identityTrustDomain}}",
        names::GATEWAY
    );
    let mut out = vec![rbac::service_account(names::GATEWAY, NAMESPACE, &labels)];
    out.push(json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": names::GATEWAY,
            "namespace": NAMESPACE,
            "labels": labels,
            "annotations": {
                annotations::GATEWAY_IDENTITY: identity,
                annotations::PROBE_PERIOD: "${gateway.probe.seconds|text}",
                annotations::PROBE_PATH: "${gateway.probe.path}",
                annotations::MULTICLUSTER_GATEWAY: "true",
                "${gateway.serviceAnnotations}": null,
            },
        },
        "spec": {
            "type": "${gateway.serviceType}",
            "loadBalancerIP":
                when("gateway.loadBalancerIP", json!("${gateway.loadBalancerIP}")),
            // Only asked where traffic stays on the node it arrives at.
            "externalTrafficPolicy": when("gateway.healthcheckNodePort", json!("Local")),
            "healthCheckNodePort":
                when("gateway.healthcheckNodePort", json!("${gateway.healthcheckNodePort}")),
            "selector": { "app": names::GATEWAY },
            "ports": [
                {
                    "name": names::GATEWAY_PORT_NAME,
                    "port": "${gateway.port}",
                    "targetPort": ports::INBOUND,
                },
                {
                    "name": names::GATEWAY_PROBE_PORT_NAME,
                    "port": "${gateway.probe.port}",
                    "targetPort": ports::ADMIN,
                },
            ],
        },
    }));
    out.extend(gateway_policy(&labels));
    out.push(gateway_deployment(&labels));
    let budget = json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": { "name": names::GATEWAY, "namespace": NAMESPACE, "labels": labels },
        "spec": { "maxUnavailable": 1, "selector": { "matchLabels": { "app": names::GATEWAY } } },
    });
    out.push(when("enablePodAntiAffinity", budget));
    out
}

/// Who may speak to the gateway: any meshed workload, from any network.
fn gateway_policy(labels: &Value) -> Vec<Value> {
    let metadata = |name: &str| json!({ "name": name, "namespace": NAMESPACE, "labels": labels });
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
fn gateway_deployment(labels: &Value) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": names::GATEWAY, "namespace": NAMESPACE, "labels": labels,
            "annotations": { annotations::CREATED_BY: "${release.createdBy}" },
        },
        "spec": {
            "replicas": "${gateway.replicas}",
            "strategy": when("enablePodAntiAffinity", workload::one_at_a_time()),
            "selector": { "matchLabels": { "app": names::GATEWAY } },
            "template": {
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
                    "affinity": when("enablePodAntiAffinity", workload::affinity("gateway")),
                    "containers": [{
                        "name": "pause",
                        "image": "${gateway.pauseImage}",
                        "securityContext": {
                            "allowPrivilegeEscalation": false,
                            "capabilities": { "drop": ["ALL"] },
                            "readOnlyRootFilesystem": true,
                            "runAsNonRoot": true,
                            "runAsUser": 2103,
                        },
                    }],
                },
            },
        },
    })
}

/// Gives the gateway's pod its sidecar, as the webhook would.
pub(super) fn inject(
    deployment: &mut Value,
    values: &values::Values,
    control_plane_ns: &str,
    namespace: &str,
) -> anyhow::Result<()> {
    let template = &mut deployment["spec"]["template"];
    let decision = mesh_injector::decide(
        &values.settings(control_plane_ns),
        &Pod {
            template,
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
    json_patch::patch(template, &patch)?;
    Ok(())
}
