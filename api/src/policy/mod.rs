//! The policy resources destination enforces, and their CRDs.
//!
//! `mesh install` applies what [`crds`] returns; destination reads the types. Only kinds that are
//! enforced live here: a policy one can apply but that does nothing is worse than none.
//!
//! ```text
//! Server ── podSelector + port ──▶ pods
//!   ▲ targetRef (or the whole Namespace)
//! AuthorizationPolicy ── requiredAuthenticationRefs (all must hold) ──▶ MeshTLSAuthentication
//!                                                                   ├▶ NetworkAuthentication
//!                                                                   └▶ ServiceAccount
//! ```
//!
//! `ClientRestriction` stands apart: it admits nobody, and holds whatever these allow.

mod authentication;
mod authorization;
mod reference;
mod restriction;
mod server;

pub use authentication::{
    MeshTLSAuthentication, MeshTLSAuthenticationSpec, Network, NetworkAuthentication,
    NetworkAuthenticationSpec,
};
pub use authorization::{AuthorizationPolicy, AuthorizationPolicySpec};
pub use reference::{LocalTargetRef, NamespacedTargetRef};
pub use restriction::{ClientRestriction, ClientRestrictionSpec};
pub use server::{Port, ProxyProtocol, Server, ServerSpec};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// The API group of every resource here but `ClientRestriction`, which is our own.
pub const GROUP: &str = "policy.linkerd.io";

/// The CustomResourceDefinitions to install, in the order they should be applied.
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![
        server::crd(),
        AuthorizationPolicy::crd(),
        MeshTLSAuthentication::crd(),
        NetworkAuthentication::crd(),
        ClientRestriction::crd(),
    ]
}

#[cfg(test)]
mod tests;
