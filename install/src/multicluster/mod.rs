//! The multicluster extension: gateway, service mirror, and the access of peers.

mod gateway;
mod mirror;
mod remote_access;
mod values;

pub use self::{
    remote_access::remote_access,
    values::{Gateway, Probe, Values, from_control_plane},
};

use crate::{control_plane::File, template::when, values::Values as ControlPlane};
use mesh_contract::{labels, names};
use serde_json::{Value, json};

/// The namespace everything is in.
const NAMESPACE: &str = "${release.namespace}";

/// Everything of the extension, in the order it must be applied.
///
/// The gateway has its sidecar already, so that it needs no webhook; from Helm it gets it there.
pub fn manifests(
    values: &Values,
    control_plane: &ControlPlane,
    namespace: &str,
) -> anyhow::Result<Vec<Value>> {
    let control_plane = values.agreeing(control_plane);
    let mut documents = vec![extension_namespace(control_plane.cni_enabled)];
    documents.extend(crate::labelled(mesh_api::crds())?);
    documents.extend(templates().into_iter().flat_map(|(_, documents)| documents));
    let mut documents = values.scope(namespace)?.evaluate(&documents)?;
    for document in &mut documents {
        if document["kind"] == "Deployment" && document["metadata"]["name"] == names::GATEWAY {
            gateway::inject(
                document,
                &control_plane,
                &values.linkerd_namespace,
                namespace,
            )?;
        }
    }
    Ok(documents)
}

/// What the chart renders: everything but namespace and CRD, the gateway without its sidecar.
pub fn chart_manifests(values: &Values, namespace: &str) -> anyhow::Result<Vec<Value>> {
    let documents: Vec<_> = templates().into_iter().flat_map(|(_, all)| all).collect();
    values.scope(namespace)?.evaluate(&documents)
}

/// The templates of the chart.
pub(crate) fn templates() -> Vec<File> {
    let gateway = gateway::templates().into_iter();
    let gateway = gateway.map(|document| when("gateway.enabled", document));
    let access = remote_access::templates(names::REMOTE_ACCESS).into_iter();
    let access = access.map(|document| when("remoteMirrorServiceAccount", document));
    vec![
        ("gateway", gateway.collect()),
        ("remote-access", access.collect()),
        ("service-mirror", mirror::templates()),
    ]
}

/// The namespace; Helm makes its own. An init container that redirects needs capabilities.
fn extension_namespace(cni_enabled: bool) -> Value {
    let level = if cni_enabled {
        "restricted"
    } else {
        "privileged"
    };
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": NAMESPACE,
            "labels": {
                labels::EXTENSION: "multicluster",
                "pod-security.kubernetes.io/enforce": level,
            },
        },
    })
}

fn extension_labels(component: &str) -> Value {
    json!({
        labels::EXTENSION: "multicluster",
        labels::COMPONENT: component,
        "app.kubernetes.io/part-of": "mesh",
    })
}
