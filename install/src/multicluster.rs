//! The multicluster extension: gateway, service mirror, and the access of peers.

use crate::{
    control_plane::{File, identity_addr},
    rbac::{self, READ, Rule},
    template::{Scope, when},
    values,
    workload::{self, Daemon},
};
use anyhow::bail;
use mesh_contract::{annotations, images, labels, names, ports};
use mesh_injector::{Decision, Owner, Pod};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The namespace everything is in.
const NAMESPACE: &str = "${release.namespace}";

/// What the extension can be told on the command line.
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
    /// Whether everything survives the loss of a node.
    pub ha: bool,
    /// Node port at which a load balancer asks for the gateway's health; 0 for none.
    pub gateway_healthcheck_nodeport: u16,
}

/// Values of the extension.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Values {
    /// Namespace of the control plane.
    pub linkerd_namespace: String,
    /// Version of the images.
    pub linkerd_version: String,
    /// Image of the service mirror, without its tag.
    pub controller_image: String,
    /// When it is pulled.
    pub image_pull_policy: String,
    /// Uid of the service mirror.
    #[serde(rename = "controllerUID")]
    pub controller_uid: u32,
    /// Log filter of the service mirror.
    pub controller_log_level: String,
    /// `plain` or `json`.
    pub controller_log_format: String,
    /// DNS domain of the cluster.
    pub cluster_domain: String,
    /// Trust domain of every identity.
    pub identity_trust_domain: String,
    /// PEM bundle of the trust anchors, the control plane's.
    #[serde(rename = "identityTrustAnchorsPEM")]
    pub identity_trust_anchors_pem: String,
    /// Pods of the service mirror, of which one writes.
    pub controller_replicas: u32,
    /// Spread the pods of a component over nodes and zones.
    pub enable_pod_anti_affinity: bool,
    /// The entrance for other clusters.
    pub gateway: Gateway,
    /// Make the account and token another cluster's mirror reads this cluster with.
    pub remote_mirror_service_account: bool,
}

/// The entrance for other clusters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Gateway {
    /// Whether there is one.
    pub enabled: bool,
    /// Its pods.
    pub replicas: u32,
    /// Port of its Service for traffic.
    pub port: u16,
    /// How other clusters see that it works.
    pub probe: Probe,
    /// Type of its Service.
    pub service_type: String,
    /// Annotations of its Service, such as a cloud's for load balancers.
    pub service_annotations: Map<String, Value>,
    /// Address its load balancer is to have.
    #[serde(rename = "loadBalancerIP")]
    pub load_balancer_ip: String,
    /// Node port at which a load balancer asks for its health; 0 for none.
    pub healthcheck_node_port: u16,
    /// Image of the container beside the sidecar that is the gateway.
    pub pause_image: String,
}

/// How other clusters see that a gateway works.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Probe {
    /// Path that answers 200.
    pub path: String,
    /// Port of its Service that answers.
    pub port: u16,
    /// Seconds between probes.
    pub seconds: u32,
}

impl Default for Values {
    fn default() -> Self {
        let values = values::Values::default();
        Self {
            linkerd_namespace: names::CONTROL_PLANE_NS.into(),
            linkerd_version: values.linkerd_version,
            controller_image: values.controller_image,
            image_pull_policy: values.image_pull_policy,
            controller_uid: values.controller_uid,
            controller_log_level: values.controller_log_level,
            controller_log_format: values.controller_log_format,
            cluster_domain: values.cluster_domain,
            identity_trust_domain: values.identity_trust_domain,
            identity_trust_anchors_pem: String::new(),
            controller_replicas: 1,
            enable_pod_anti_affinity: false,
            gateway: Gateway::default(),
            remote_mirror_service_account: true,
        }
    }
}

impl Default for Gateway {
    fn default() -> Self {
        Self {
            enabled: true,
            replicas: 1,
            port: ports::INBOUND,
            probe: Probe::default(),
            service_type: "LoadBalancer".into(),
            service_annotations: Map::new(),
            load_balancer_ip: String::new(),
            healthcheck_node_port: 0,
            pause_image: format!("{}:3.10", images::PAUSE),
        }
    }
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            path: "/ready".into(),
            port: ports::ADMIN,
            seconds: 3,
        }
    }
}

impl Values {
    /// The flags' values, on a control plane with `values`.
    fn of(options: &Options, values: &values::Values, control_plane_ns: &str) -> Self {
        Self {
            linkerd_namespace: control_plane_ns.to_owned(),
            linkerd_version: values.linkerd_version.clone(),
            controller_image: values.controller_image.clone(),
            image_pull_policy: values.image_pull_policy.clone(),
            controller_uid: values.controller_uid,
            controller_log_level: values.controller_log_level.clone(),
            controller_log_format: values.controller_log_format.clone(),
            cluster_domain: values.cluster_domain.clone(),
            identity_trust_domain: values.identity_trust_domain.clone(),
            identity_trust_anchors_pem: values.identity_trust_anchors_pem.clone(),
            controller_replicas: if options.ha { 3 } else { 1 },
            enable_pod_anti_affinity: options.ha,
            gateway: Gateway {
                enabled: options.gateway,
                replicas: if options.ha { 3 } else { 1 },
                healthcheck_node_port: options.gateway_healthcheck_nodeport,
                port: options.gateway_port,
                probe: Probe {
                    port: options.gateway_probe_port,
                    seconds: options.gateway_probe_seconds,
                    ..Probe::default()
                },
                service_type: options.gateway_service_type.clone(),
                ..Gateway::default()
            },
            remote_mirror_service_account: options.service_mirror_credentials,
        }
    }

    /// What fills the templates' holes.
    pub fn scope(&self, namespace: &str) -> anyhow::Result<Scope> {
        let values = serde_json::to_value(self)?;
        Ok(Scope {
            namespace: namespace.to_owned(),
            public_values: values.clone(),
            values,
        })
    }
}

/// Everything of the extension, in the order it must be applied.
///
/// The gateway has its sidecar already, so that it needs no webhook; from Helm it gets it there.
pub fn manifests(
    options: &Options,
    values: &values::Values,
    control_plane_ns: &str,
) -> anyhow::Result<Vec<Value>> {
    let mut documents = vec![namespace(values.cni_enabled)];
    documents.extend(crate::labelled(mesh_api::crds())?);
    documents.extend(templates().into_iter().flat_map(|(_, documents)| documents));
    let scope = Values::of(options, values, control_plane_ns).scope(&options.namespace)?;
    let mut documents = scope.evaluate(&documents)?;
    for document in &mut documents {
        if document["kind"] == "Deployment" && document["metadata"]["name"] == names::GATEWAY {
            inject(document, values, control_plane_ns, &options.namespace)?;
        }
    }
    Ok(documents)
}

/// What the chart renders: everything but namespace and CRD, the gateway without its sidecar.
pub fn chart_manifests(values: &Values, namespace: &str) -> anyhow::Result<Vec<Value>> {
    let documents: Vec<_> = templates().into_iter().flat_map(|(_, all)| all).collect();
    values.scope(namespace)?.evaluate(&documents)
}

/// The templates of the chart.
pub(crate) fn templates() -> Vec<File> {
    let gateway = gateway().into_iter();
    let gateway = gateway.map(|document| when("gateway.enabled", document));
    let access = remote_access_templates(names::REMOTE_ACCESS).into_iter();
    let access = access.map(|document| when("remoteMirrorServiceAccount", document));
    vec![
        ("gateway", gateway.collect()),
        ("remote-access", access.collect()),
        ("service-mirror", service_mirror()),
    ]
}

/// The namespace; Helm makes its own. An init container that redirects needs capabilities.
fn namespace(cni_enabled: bool) -> Value {
    let level = if cni_enabled {
        "restricted"
    } else {
        "privileged"
    };
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": NAMESPACE,
            "labels": {
                labels::EXTENSION: "multicluster",
                "pod-security.kubernetes.io/enforce": level,
            },
        },
    })
}

fn extension_labels(component: &str) -> Value {
    json!({
        labels::EXTENSION: "multicluster",
        labels::COMPONENT: component,
        "app.kubernetes.io/part-of": "mesh",
    })
}

fn gateway() -> Vec<Value> {
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

fn inject(
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

/// The account another cluster's mirror uses here: services and their endpoints, and what tells
/// whether trust is shared; nothing else.
pub fn remote_access(
    name: &str,
    namespace: &str,
    control_plane_ns: &str,
) -> anyhow::Result<Vec<Value>> {
    let values = Values {
        linkerd_namespace: control_plane_ns.to_owned(),
        ..Values::default()
    };
    let scope = values.scope(namespace)?;
    scope.evaluate(&remote_access_templates(name))
}

fn remote_access_templates(name: &str) -> Vec<Value> {
    let labels = json!({ labels::EXTENSION: "multicluster" });
    let account = (name, NAMESPACE);
    let mut out = vec![rbac::service_account(name, NAMESPACE, &labels)];
    out.push(json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": format!("{name}-token"),
            "namespace": NAMESPACE,
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
            // No pods: they tell much more than who they are. `--remote-discovery` adds them.
            Rule::new("", &["services"], READ),
            Rule::new("discovery.k8s.io", &["endpointslices"], READ),
        ],
    ));
    out.extend(rbac::role(
        (name, "${linkerdNamespace}"),
        account,
        &labels,
        &[Rule::new("", &["configmaps"], &["get"]).named(&[names::CONFIG, names::TRUST_ROOTS])],
    ));
    out
}

fn service_mirror() -> Vec<Value> {
    let account = (names::SERVICE_MIRROR, NAMESPACE);
    let labels = extension_labels(names::SERVICE_MIRROR);
    let mut out = vec![rbac::service_account(
        names::SERVICE_MIRROR,
        NAMESPACE,
        &labels,
    )];
    out.extend(mirror_access(account, &labels));
    out.extend(workload::deployment(&Daemon {
        name: names::SERVICE_MIRROR,
        namespace: NAMESPACE,
        component: names::SERVICE_MIRROR,
        labels: &labels,
        args: vec![
            json!("mirror"),
            json!("--namespace=${release.namespace}"),
            json!("--controller-namespace=${linkerdNamespace}"),
            json!("--trust-domain=${identityTrustDomain}"),
            json!("--cluster-domain=${clusterDomain}"),
            json!(format!(
                "--identity-addr={}",
                identity_addr("${linkerdNamespace}")
            )),
            json!(format!("--identity-token-file={}", workload::token_file())),
        ],
        ports: &[],
        admin_port: ports::MIRROR_ADMIN,
        identity_token: true,
        replicas: json!("${controllerReplicas}"),
        resources: None,
        placed: false,
        published_anchors: false,
    }));
    out
}

fn mirror_access(account: (&str, &str), labels: &Value) -> Vec<Value> {
    const WRITE: &[&str] = &[
        "get", "list", "watch", "create", "update", "patch", "delete",
    ];
    let mut out = Vec::new();
    out.extend(rbac::cluster_role(
        names::SERVICE_MIRROR,
        account,
        labels,
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
        labels,
        &[
            Rule::new("multicluster.linkerd.io", &["links"], READ),
            Rule::new(
                "multicluster.linkerd.io",
                &["links/status"],
                &["get", "update", "patch"],
            ),
            Rule::new("multicluster.linkerd.io", &["links"], &["update", "patch"]),
            Rule::new(
                "multicluster.linkerd.io",
                &["links/finalizers"],
                &["update"],
            ),
            Rule::new("", &["secrets"], READ),
            Rule::new(
                "coordination.k8s.io",
                &["leases"],
                &["get", "list", "watch", "create", "update", "patch"],
            ),
        ],
    ));
    out.extend(rbac::role(
        (names::SERVICE_MIRROR, "${linkerdNamespace}"),
        account,
        labels,
        &[Rule::new("", &["configmaps"], READ).named(&[names::CONFIG, names::TRUST_ROOTS])],
    ));
    out
}
