//! What is installed: values as Helm users know them, and the manifests and charts made from them.
//!
//! ```text
//! builders (control_plane, multicluster) ─▶ templates ─▶ Scope::evaluate ─▶ mesh install
//!                                                    └─▶ helm            ─▶ charts/
//! ```
//!
//! Pure: values in, documents out. `cli` prints the documents for `mesh install` and
//! `mesh multicluster install`; `examples/charts.rs` writes the charts; nothing here talks to a
//! cluster or makes a certificate.

pub mod chart;
mod control_plane;
mod helm;
pub mod multicluster;
mod rbac;
pub mod template;
pub mod values;
mod workload;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use mesh_contract::{annotations, labels};
use serde_json::{Value, json};
use template::Scope;
use values::Values;

/// CRDs and control plane, in the order they must be applied.
pub fn manifests(values: &Values, namespace: &str) -> anyhow::Result<Vec<Value>> {
    let mut documents = vec![control_plane::namespace()];
    documents.extend(crd_templates()?);
    for (_, templates) in control_plane::templates() {
        documents.extend(templates);
    }
    scope(values, namespace)?.evaluate(&documents)
}

/// The policy resources that are enforced; the Link CRD comes with [`multicluster`].
pub fn crds(namespace: &str) -> anyhow::Result<Vec<Value>> {
    scope(&Values::default(), namespace)?.evaluate(&crd_templates()?)
}

/// `linkerd.io/created-by` of everything printed.
pub fn created_by() -> String {
    format!("mesh/cli {}", env!("CARGO_PKG_VERSION"))
}

fn scope(values: &Values, namespace: &str) -> anyhow::Result<Scope> {
    Ok(Scope {
        namespace: namespace.to_owned(),
        values: serde_json::to_value(values)?,
        public_values: serde_json::to_value(values.public())?,
    })
}

fn crd_templates() -> anyhow::Result<Vec<Value>> {
    labelled(mesh_api::policy::crds())
}

/// CRDs that say who made them, so that those of another mesh are told apart.
fn labelled(crds: Vec<CustomResourceDefinition>) -> anyhow::Result<Vec<Value>> {
    let label = |crd: CustomResourceDefinition| {
        let mut crd = serde_json::to_value(crd)?;
        crd["metadata"]["labels"] = json!({ "app.kubernetes.io/part-of": "mesh" });
        crd["metadata"]["annotations"] = json!({ annotations::CREATED_BY: "${release.createdBy}" });
        let (label, value) = if crd["spec"]["group"] == "multicluster.linkerd.io" {
            (labels::EXTENSION, "multicluster")
        } else {
            (labels::CONTROL_PLANE_NS, control_plane::NAMESPACE)
        };
        crd["metadata"]["labels"][label] = json!(value);
        Ok(crd)
    };
    crds.into_iter().map(label).collect()
}

#[cfg(test)]
mod tests;
