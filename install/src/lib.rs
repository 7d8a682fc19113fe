//! What is installed: values as Helm users know them, and the manifests made from them.
//!
//! Pure: values in, documents out. `cli` prints the documents for `mesh install` and
//! `mesh multicluster install`; nothing here talks to a cluster or makes a certificate.

#![allow(missing_docs)] // until the values are described, with their charts

pub mod control_plane;
pub mod multicluster;
pub mod rbac;
pub mod values;
pub mod workload;

use serde_json::Value;
use values::Values;

/// CRDs and control plane, in the order they must be applied.
pub fn manifests(values: &Values, namespace: &str) -> anyhow::Result<Vec<Value>> {
    let mut documents = crds()?;
    documents.extend(control_plane::render(values, namespace)?);
    Ok(documents)
}

/// The policy resources that are enforced; the Link CRD comes with [`multicluster`].
pub fn crds() -> anyhow::Result<Vec<Value>> {
    mesh_api::policy::crds()
        .into_iter()
        .map(|crd| Ok(serde_json::to_value(crd)?))
        .collect()
}

/// `linkerd.io/created-by` of everything printed.
pub fn created_by() -> String {
    format!("mesh/cli {}", env!("CARGO_PKG_VERSION"))
}
