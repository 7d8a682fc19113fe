//! What the service mirror reports about a Link.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// State of a Link, written by the service mirror as a whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LinkStatus {
    /// Services mirrored, or why not.
    pub mirror_services: Vec<ServiceStatus>,
    /// Services that joined federated services, or why not.
    pub federated_services: Vec<ServiceStatus>,
    /// State of the link itself.
    pub conditions: Vec<Condition>,
    /// What probing the gateway found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<GatewayStatus>,
}

/// What became of one Service of the linked cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceStatus {
    /// Who says so.
    pub controller_name: String,
    /// The Service in the linked cluster.
    pub remote_ref: ServiceRef,
    /// The Service here, once there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_ref: Option<ServiceRef>,
    /// One condition of the type `Mirrored`.
    pub conditions: Vec<Condition>,
}

/// A Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceRef {
    /// API group; empty for Services.
    pub group: String,
    /// `Service`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
}

/// A condition, as Kubernetes has them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// `Accepted`, `Connected`, `GatewayAlive`, `Mirrored`, …
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// One word in CamelCase.
    pub reason: String,
    /// Cause and remedy.
    pub message: String,
    /// When the status last became what it is (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub last_transition_time: Option<String>,
    /// The generation of the Link this was found for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// What probing a gateway on the data path found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewayStatus {
    /// `True`, `False`, or `Unknown` before the first probe ended.
    pub alive: String,
    /// Milliseconds of the last probe that was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<i64>,
    /// Services mirrored through it.
    pub services: i64,
}
