//! What the decision needs to know of the control plane, the same for every pod.

use mesh_contract::{identity::WorkloadIdentity, images, names};
use serde::{Deserialize, Serialize};

/// The control plane as sidecars must see it. `mesh install` writes it, `mesh inject` reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Settings {
    /// Namespace of the control plane.
    pub control_plane_ns: String,
    /// Trust domain of every identity of this cluster.
    pub trust_domain: String,
    /// DNS domain of the cluster.
    pub cluster_domain: String,
    /// PEM bundle of the trust anchors.
    pub trust_anchors: String,
    /// SHA-256 of the bundle, in hex; recorded on pods so that stale ones can be found.
    pub trust_anchors_sha256: String,
    /// Version written on injected pods.
    pub version: String,
    /// Sidecar image with its tag.
    pub proxy_image: String,
    /// Log filter of sidecars.
    pub proxy_log_level: String,
    /// `plain` or `json`.
    pub proxy_log_format: String,
    /// Networks whose addresses are looked up in discovery, comma separated.
    pub cluster_networks: String,
    /// Ports that are opaque unless a pod says otherwise.
    pub opaque_ports: String,
    /// Policy for ports without a Server.
    pub default_inbound_policy: String,
}

impl Default for Settings {
    fn default() -> Self {
        let version = env!("CARGO_PKG_VERSION");
        Self {
            control_plane_ns: names::CONTROL_PLANE_NS.to_owned(),
            trust_domain: names::DEFAULT_CLUSTER_DOMAIN.to_owned(),
            cluster_domain: names::DEFAULT_CLUSTER_DOMAIN.to_owned(),
            trust_anchors: String::new(),
            trust_anchors_sha256: String::new(),
            version: version.to_owned(),
            proxy_image: format!("{}:{version}", images::PROXY),
            proxy_log_level: "warn,mesh=info".to_owned(),
            proxy_log_format: "plain".to_owned(),
            cluster_networks: "10.0.0.0/8,100.64.0.0/10,172.16.0.0/12,192.168.0.0/16,fd00::/8"
                .to_owned(),
            opaque_ports: "25,587,3306,4444,5432,6379,9300,11211".to_owned(),
            default_inbound_policy: "all-unauthenticated".to_owned(),
        }
    }
}

impl Settings {
    /// The identity of a ServiceAccount of the control plane.
    pub(crate) fn control_identity(&self, service_account: &str) -> String {
        WorkloadIdentity {
            service_account,
            namespace: &self.control_plane_ns,
            control_plane_ns: &self.control_plane_ns,
            trust_domain: &self.trust_domain,
        }
        .to_string()
    }

    /// `service.ns.svc.domain.:port`, with the trailing dot that keeps resolvers from searching.
    pub(crate) fn control_addr(&self, service: &str, port: u16) -> String {
        format!(
            "{service}.{}.svc.{}.:{port}",
            self.control_plane_ns, self.cluster_domain
        )
    }
}
