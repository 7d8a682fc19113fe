//! `AuthorizationPolicy`: who may use a target.

use super::{LocalTargetRef, NamespacedTargetRef};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Admits clients to a `Server`, or to every Server of the policy's `Namespace`.
///
/// All required authentications must hold; several policies on one target are alternatives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "policy.linkerd.io",
    version = "v1alpha1",
    kind = "AuthorizationPolicy",
    plural = "authorizationpolicies",
    shortname = "authzpolicy",
    namespaced,
    printcolumn = r#"{"name":"Target","type":"string","description":"The name of the target","jsonPath":".spec.targetRef.name"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct AuthorizationPolicySpec {
    /// What is protected: a `Server` of this namespace, or this `Namespace`.
    pub target_ref: LocalTargetRef,
    /// What a client must prove, all of it; nothing when empty. At most one
    /// `MeshTLSAuthentication` or `ServiceAccount`, and one `NetworkAuthentication`.
    pub required_authentication_refs: Vec<NamespacedTargetRef>,
}
