//! `MeshTLSAuthentication` and `NetworkAuthentication`: what a client may prove.

use super::NamespacedTargetRef;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A set of client identities; any one of them is enough.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, CustomResource,
)]
#[kube(
    group = "policy.linkerd.io",
    version = "v1alpha1",
    kind = "MeshTLSAuthentication",
    plural = "meshtlsauthentications",
    shortname = "meshtlsauthn",
    namespaced,
    printcolumn = r#"{"name":"Identities","type":"string","description":"Client identities","jsonPath":".spec.identities"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct MeshTLSAuthenticationSpec {
    /// Identities: exact, `*.` and a suffix, or `*` for any client with an identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "identities")]
    pub identities: Option<Vec<String>>,
    /// `ServiceAccount`s, or all those of a `Namespace`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_refs: Option<Vec<NamespacedTargetRef>>,
}

/// A set of client networks; any one of them is enough.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, CustomResource,
)]
#[kube(
    group = "policy.linkerd.io",
    version = "v1alpha1",
    kind = "NetworkAuthentication",
    plural = "networkauthentications",
    shortname = "netauthn",
    namespaced,
    printcolumn = r#"{"name":"Networks","type":"string","description":"Client networks","jsonPath":".spec.networks[*].cidr"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct NetworkAuthenticationSpec {
    /// Networks.
    #[schemars(length(min = 1))]
    pub networks: Vec<Network>,
}

/// A network without some parts of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Network {
    /// An address, or a network in CIDR notation.
    pub cidr: String,
    /// Parts of it that do not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub except: Option<Vec<String>>,
}

/// Names of clients.
pub(super) fn identities(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "array",
        "nullable": true,
        "description": "Identities: exact, `*.` and a suffix, or `*` for any client with an identity.",
        "items": {
            "type": "string",
            "pattern": r"^(\*|(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*|spiffe://.+)$"
        }
    })
}
