//! The values of the extension, and where they come from.

use crate::{
    template::Scope,
    values::{self, ChartValues},
};
use mesh_contract::{images, names, ports};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

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
    /// Spread the pods of a component over nodes and zones, and keep all but one of them through
    /// drains and rollouts.
    pub enable_pod_anti_affinity: bool,
    /// The entrance for other clusters.
    pub gateway: Gateway,
    /// Make the account and token another cluster's mirror reads this cluster with.
    pub remote_mirror_service_account: bool,
    /// Let that account read Pods, which mirrors need for Services that are exported pod to pod.
    pub remote_discovery: bool,
    /// Mirror headless Services of linked clusters as such, with a Service for each endpoint that
    /// has a name.
    pub enable_headless_services: bool,
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
            remote_discovery: false,
            enable_headless_services: false,
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

impl ChartValues for Values {
    fn ha() -> Value {
        json!({
            "controllerReplicas": 3,
            "enablePodAntiAffinity": true,
            "gateway": { "replicas": 3 },
        })
    }
}

/// The values that are the control plane's too, as the control plane in `namespace` has them.
pub fn from_control_plane(values: &values::Values, namespace: &str) -> Value {
    json!({
        "linkerdNamespace": namespace,
        "linkerdVersion": values.linkerd_version,
        "controllerImage": values.controller_image,
        "imagePullPolicy": values.image_pull_policy,
        "controllerUID": values.controller_uid,
        "controllerLogLevel": values.controller_log_level,
        "controllerLogFormat": values.controller_log_format,
        "clusterDomain": values.cluster_domain,
        "identityTrustDomain": values.identity_trust_domain,
        "identityTrustAnchorsPEM": values.identity_trust_anchors_pem,
    })
}

impl Values {
    /// The control plane's values where both must say the same: the gateway's sidecar is injected
    /// with those, the service mirror is made with these.
    pub(super) fn agreeing(&self, control_plane: &values::Values) -> values::Values {
        values::Values {
            cluster_domain: self.cluster_domain.clone(),
            identity_trust_domain: self.identity_trust_domain.clone(),
            identity_trust_anchors_pem: self.identity_trust_anchors_pem.clone(),
            ..control_plane.clone()
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
