//! `Link`: another cluster whose exported services appear here.
//!
//! Versions v1alpha1 to v1alpha3 are served with one schema, of which v1alpha3 is stored; what an
//! older version did not have is simply absent. Ports may be written as numbers or strings and
//! periods as `3` or `3s`, as manifests in use have them.

mod status;
mod values;

pub use status::{Condition, GatewayStatus, LinkStatus, ServiceRef, ServiceStatus};
pub use values::{IntOrText, Period};

use crate::schema::optional_label_selector;
use k8s_openapi::{
    apiextensions_apiserver::pkg::apis::apiextensions::v1::{
        CustomResourceDefinition, CustomResourceDefinitionVersion,
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use kube::{CustomResource, CustomResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Versions served for manifests written for older releases.
const OLDER_VERSIONS: &[&str] = &["v1alpha1", "v1alpha2"];

/// A linked cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "multicluster.linkerd.io",
    version = "v1alpha3",
    kind = "Link",
    plural = "links",
    namespaced,
    status = "LinkStatus",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Cluster","type":"string","description":"The linked cluster","jsonPath":".spec.targetClusterName"}"#,
    printcolumn = r#"{"name":"Gateway","type":"string","description":"Addresses of its gateway","jsonPath":".spec.gatewayAddress"}"#,
    printcolumn = r#"{"name":"Connected","type":"string","description":"Whether its API server is being watched","jsonPath":".status.conditions[?(@.type==\"Connected\")].status"}"#,
    printcolumn = r#"{"name":"Alive","type":"string","description":"Whether its gateway answers probes","jsonPath":".status.gateway.alive"}"#
)]
#[serde(rename_all = "camelCase", default)]
pub struct LinkSpec {
    /// Name of the cluster; suffix of everything mirrored from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_cluster_name: Option<String>,
    /// Its DNS domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_cluster_domain: Option<String>,
    /// Namespace of its control plane.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_cluster_linkerd_namespace: Option<String>,
    /// Secret with the kubeconfig to read it with, in the Link's namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_credentials_secret: Option<String>,
    /// Addresses or host names of its gateway, comma separated; none means no gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_address: Option<String>,
    /// Port of its gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_port: Option<IntOrText>,
    /// Identity its gateway proves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_identity: Option<String>,
    /// How to tell whether its gateway works.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe_spec: Option<ProbeSpec>,
    /// Services to mirror through the gateway; empty or absent selects none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "optional_label_selector")]
    pub selector: Option<LabelSelector>,
    /// Services to mirror pod to pod; empty or absent selects none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "optional_label_selector")]
    pub remote_discovery_selector: Option<LabelSelector>,
    /// Services that join federated services; empty or absent selects none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "optional_label_selector")]
    pub federated_service_selector: Option<LabelSelector>,
    /// Annotations never to import: keys, or `prefix/*`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excluded_annotations: Option<Vec<String>>,
    /// Labels never to import: keys, or `prefix/*`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excluded_labels: Option<Vec<String>>,
}

/// How a gateway is probed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ProbeSpec {
    /// Path that answers 200; none means the gateway is not probed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Port of the gateway's pods that answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<IntOrText>,
    /// Time between probes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Option<Period>,
    /// Time an answer may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Period>,
    /// Probes that must fail in a row before the gateway counts as dead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_threshold: Option<IntOrText>,
}

/// The CRD, with the older versions served beside the stored one.
pub(crate) fn crd() -> CustomResourceDefinition {
    let mut crd = Link::crd();
    let stored = crd.spec.versions.first().cloned();
    if let Some(stored) = stored {
        let older = OLDER_VERSIONS
            .iter()
            .map(|name| CustomResourceDefinitionVersion {
                name: (*name).to_owned(),
                storage: false,
                ..stored.clone()
            });
        crd.spec.versions.splice(0..0, older);
    }
    crd
}

#[cfg(test)]
mod tests;
