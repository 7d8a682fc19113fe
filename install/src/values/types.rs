//! The values of the control plane.

use super::load::ChartValues;
use mesh_contract::{images, names};
use mesh_injector::{Proxy, ProxyInit, Resources, Settings, SidecarValues};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Values of the control plane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Values {
    /// Version of the control plane and of the images it runs.
    pub linkerd_version: String,
    /// Image of the control plane, without its tag.
    pub controller_image: String,
    /// When the control plane's image is pulled.
    pub image_pull_policy: String,
    /// Secrets to pull images with: `[{name: …}]`.
    #[schemars(with = "Vec<Map<String, Value>>")]
    pub image_pull_secrets: Vec<Value>,
    /// Pods of each component.
    pub controller_replicas: u32,
    /// Uid of the control plane's processes.
    #[serde(rename = "controllerUID")]
    pub controller_uid: u32,
    /// Log filter of the control plane.
    pub controller_log_level: String,
    /// `plain` or `json`.
    pub controller_log_format: String,
    /// DNS domain of the cluster.
    pub cluster_domain: String,
    /// Networks whose addresses are looked up in discovery, comma separated.
    pub cluster_networks: String,
    /// Traffic is redirected by somebody else (a CNI plugin), so pods get no init container.
    pub cni_enabled: bool,
    /// Sidecars listen on IPv4 only.
    #[serde(rename = "disableIPv6")]
    pub disable_ipv6: bool,
    /// Spread the pods of a component over nodes and zones.
    pub enable_pod_anti_affinity: bool,
    /// Let only one pod of a component be evicted at a time.
    pub enable_pod_disruption_budget: bool,
    /// What an unreachable webhook means: `Ignore` (pods start without a sidecar) or `Fail`.
    pub webhook_failure_policy: String,
    /// Trust domain of every identity.
    pub identity_trust_domain: String,
    /// PEM bundle of the trust anchors, the same in all linked clusters.
    #[serde(rename = "identityTrustAnchorsPEM")]
    pub identity_trust_anchors_pem: String,
    /// The issuer.
    pub identity: Identity,
    /// Sidecars; annotations of pods and namespaces win over these.
    pub proxy: Proxy,
    /// The container that redirects a pod's traffic.
    pub proxy_init: ProxyInit,
    /// The webhook that adds sidecars.
    pub proxy_injector: ProxyInjector,
    /// The webhook that validates the mesh's own resources.
    pub policy_validator: PolicyValidator,
    /// Requests and limits of identity.
    pub identity_resources: Resources,
    /// Requests and limits of destination.
    pub destination_resources: Resources,
    /// Requests and limits of the injector.
    pub proxy_injector_resources: Resources,
    /// How the control plane's pods are placed and labelled.
    #[serde(flatten)]
    pub deployments: Deployments,
}

/// How the control plane's pods are placed and labelled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Deployments {
    /// Update strategy of the Deployments.
    pub deployment_strategy: Map<String, Value>,
    /// Labels nodes must have.
    pub node_selector: Map<String, Value>,
    /// Taints that are tolerated.
    #[schemars(with = "Vec<Map<String, Value>>")]
    pub tolerations: Vec<Value>,
    /// Annotations of the pods.
    pub pod_annotations: Map<String, Value>,
    /// Labels of the pods.
    pub pod_labels: Map<String, Value>,
    /// Priority of the pods.
    pub priority_class_name: String,
    /// Old ReplicaSets kept for a rollback.
    pub revision_history_limit: u32,
}

/// The issuer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Identity {
    /// The trust anchors are managed elsewhere: no ConfigMap is made for them.
    #[serde(rename = "externalCA")]
    pub external_ca: bool,
    /// The intermediate certificate leaves are signed with.
    pub issuer: Issuer,
}

/// The intermediate certificate leaves are signed with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Issuer {
    /// `linkerd.io/tls` (the Secret is made here) or `kubernetes.io/tls` (made elsewhere, such as
    /// by cert-manager).
    pub scheme: String,
    /// How long certificates are valid.
    pub issuance_lifetime: String,
    /// By how much clocks may differ.
    pub clock_skew_allowance: String,
    /// The issuer's PEM.
    pub tls: IssuerTls,
}

/// The issuer's PEM; only ever printed into its Secret.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct IssuerTls {
    /// Certificate, signed by a trust anchor.
    #[serde(rename = "crtPEM")]
    pub crt_pem: String,
    /// Private key.
    #[serde(rename = "keyPEM")]
    pub key_pem: String,
}

/// The webhook that adds sidecars.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyInjector {
    /// Whether there are admission webhooks at all; without, `mesh inject` adds sidecars.
    pub enabled: bool,
    /// The Secret `linkerd-proxy-injector-k8s-tls` is made elsewhere, such as by cert-manager;
    /// otherwise the injector makes and rotates it.
    pub external_secret: bool,
    /// PEM bundle the API server is to trust; empty lets the injector write its own.
    pub ca_bundle: String,
    /// Certificate (`namespace/name`) from which cert-manager's CA injector takes the bundle.
    pub inject_ca_from: String,
    /// Secret (`namespace/name`) from which it does.
    pub inject_ca_from_secret: String,
    /// Seconds the API server waits for an answer.
    pub timeout_seconds: u32,
    /// Namespaces that are asked about; those of the control plane and of the system never are.
    pub namespace_selector: Selector,
    /// Objects that are asked about.
    pub object_selector: Selector,
}

/// The webhook that validates the mesh's own resources.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyValidator {
    /// Namespaces that are asked about.
    pub namespace_selector: Selector,
}

/// A label selector.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Selector {
    /// Conditions, all of which must hold.
    #[schemars(with = "Vec<Map<String, Value>>")]
    pub match_expressions: Vec<Value>,
}

impl Default for Values {
    fn default() -> Self {
        let sidecars = SidecarValues::default();
        Self {
            linkerd_version: sidecars.linkerd_version,
            controller_image: images::MESH.into(),
            image_pull_policy: "IfNotPresent".into(),
            image_pull_secrets: Vec::new(),
            controller_replicas: 1,
            controller_uid: 2103,
            controller_log_level: "info".into(),
            controller_log_format: "plain".into(),
            cluster_domain: names::DEFAULT_CLUSTER_DOMAIN.into(),
            cluster_networks: sidecars.cluster_networks,
            cni_enabled: sidecars.cni_enabled,
            disable_ipv6: sidecars.disable_ipv6,
            enable_pod_anti_affinity: false,
            enable_pod_disruption_budget: false,
            webhook_failure_policy: "Ignore".into(),
            identity_trust_domain: names::DEFAULT_CLUSTER_DOMAIN.into(),
            identity_trust_anchors_pem: String::new(),
            identity: Identity::default(),
            proxy: sidecars.proxy,
            proxy_init: sidecars.proxy_init,
            proxy_injector: ProxyInjector::default(),
            policy_validator: PolicyValidator::default(),
            identity_resources: Resources::default(),
            destination_resources: Resources::default(),
            proxy_injector_resources: Resources::default(),
            deployments: Deployments::default(),
        }
    }
}

impl Default for Deployments {
    fn default() -> Self {
        Self {
            deployment_strategy: Map::new(),
            node_selector: object(json!({ "kubernetes.io/os": "linux" })),
            tolerations: Vec::new(),
            pod_annotations: Map::new(),
            pod_labels: Map::new(),
            priority_class_name: String::new(),
            revision_history_limit: 10,
        }
    }
}

impl Default for Issuer {
    fn default() -> Self {
        Self {
            scheme: "linkerd.io/tls".into(),
            issuance_lifetime: "24h".into(),
            clock_skew_allowance: "20s".into(),
            tls: IssuerTls::default(),
        }
    }
}

impl Default for ProxyInjector {
    fn default() -> Self {
        Self {
            enabled: true,
            external_secret: false,
            ca_bundle: String::new(),
            inject_ca_from: String::new(),
            inject_ca_from_secret: String::new(),
            timeout_seconds: 10,
            namespace_selector: switched_on(),
            object_selector: Selector {
                match_expressions: vec![
                    json!({ "key": "linkerd.io/control-plane-component", "operator": "DoesNotExist" }),
                    json!({ "key": "linkerd.io/cni-resource", "operator": "DoesNotExist" }),
                ],
            },
        }
    }
}

impl Default for PolicyValidator {
    fn default() -> Self {
        Self {
            namespace_selector: switched_on(),
        }
    }
}

/// Namespaces where nobody switched webhooks off.
fn switched_on() -> Selector {
    let off = json!({
        "key": "config.linkerd.io/admission-webhooks", "operator": "NotIn", "values": ["disabled"],
    });
    Selector {
        match_expressions: vec![off],
    }
}

impl ChartValues for Values {
    fn ha() -> Value {
        let resources = |memory: &str| {
            json!({
                "cpu": { "request": "100m" },
                "memory": { "request": memory, "limit": "250Mi" },
            })
        };
        json!({
            "controllerReplicas": 3,
            "deploymentStrategy": {
                "type": "RollingUpdate",
                "rollingUpdate": { "maxUnavailable": 1, "maxSurge": "25%" },
            },
            "enablePodAntiAffinity": true,
            "enablePodDisruptionBudget": true,
            "webhookFailurePolicy": "Fail",
            "destinationResources": resources("50Mi"),
            "identityResources": resources("10Mi"),
            "proxyInjectorResources": resources("50Mi"),
            "proxy": { "resources": resources("20Mi") },
        })
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

impl std::fmt::Debug for IssuerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IssuerTls(redacted)")
    }
}

impl Values {
    /// What sidecars are injected with.
    pub fn settings(&self, control_plane_ns: &str) -> Settings {
        let values = SidecarValues {
            linkerd_version: self.linkerd_version.clone(),
            cluster_domain: self.cluster_domain.clone(),
            cluster_networks: self.cluster_networks.clone(),
            identity_trust_domain: self.identity_trust_domain.clone(),
            cni_enabled: self.cni_enabled,
            disable_ipv6: self.disable_ipv6,
            proxy: self.proxy.clone(),
            proxy_init: self.proxy_init.clone(),
        };
        Settings::new(control_plane_ns, values, &self.identity_trust_anchors_pem)
    }

    /// The same values without the issuer's key and certificate, for `linkerd-config`.
    pub fn public(&self) -> Self {
        let mut public = self.clone();
        public.identity.issuer.tls = IssuerTls::default();
        public
    }
}
