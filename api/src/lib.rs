//! The custom resources of the mesh, as types; `crds/` is generated from them.
//!
//! Whoever reads or writes one of them starts here. This room knows no cluster and no behaviour.

pub mod link;
pub mod policy;
mod schema;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

/// The CRDs of the multicluster extension; those of the control plane are [`policy::crds`].
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![link::crd()]
}
