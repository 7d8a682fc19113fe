//! `ClientRestriction`: which clients are refused everywhere in the cluster, and how much of
//! everything others may take. Of our own group; Linkerd's policies admit and say nothing of either.

use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

/// Restricts clients at every sidecar and gateway of this cluster, whatever its policies allow.
///
/// Several that match a client all hold: it is refused if one denies it, and the lowest cap counts.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, CustomResource,
)]
#[kube(
    group = "federation.mesh.io",
    version = "v1alpha1",
    kind = "ClientRestriction",
    plural = "clientrestrictions",
    printcolumn = r#"{"name":"Deny","type":"boolean","description":"Whether they are refused","jsonPath":".spec.deny"}"#,
    printcolumn = r#"{"name":"Connections","type":"integer","description":"Connections each may have","jsonPath":".spec.maxConnections"}"#,
    printcolumn = r#"{"name":"Requests","type":"integer","description":"Requests each may have in flight","jsonPath":".spec.maxRequests"}"#,
    printcolumn = r#"{"name":"Identities","type":"string","description":"Client identities","jsonPath":".spec.identities"}"#
)]
#[serde(rename_all = "camelCase")]
// One that restricts nothing is not accepted.
#[schemars(extend("anyOf" = [
    { "required": ["deny"] },
    { "required": ["maxConnections"] },
    { "required": ["maxRequests"] },
]))]
pub struct ClientRestrictionSpec {
    /// Who: identities as their certificates have them, `*.` and a suffix, or `*` for everybody
    /// with an identity.
    #[schemars(schema_with = "identities")]
    pub identities: Vec<String>,
    /// Whether they are refused; what they have open is closed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deny: bool,
    /// How many connections each of them may have to a sidecar at once. Those open when it is
    /// lowered go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_connections: Option<u32>,
    /// How many requests each of them may have in flight at a sidecar; more are answered with 429.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_requests: Option<u32>,
}

/// Bounded, as every sidecar holds all of them.
fn identities(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = super::authentication::identities(generator);
    schema.remove("nullable");
    schema.insert("minItems".to_owned(), 1.into());
    schema.insert("maxItems".to_owned(), 256.into());
    schema
}
