//! The pods of a cluster that have sidecars, as their objects tell of them.

use crate::cluster::explain;
use anyhow::bail;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, ResourceExt as _, api::ListParams};
use mesh_contract::{labels, names};

/// The pods with a sidecar of the control plane in `control_plane_ns` that have not ended, of
/// `namespace` or of all.
pub(crate) async fn meshed(
    client: &Client,
    control_plane_ns: &str,
    namespace: Option<&str>,
) -> anyhow::Result<Vec<Pod>> {
    let api: Api<Pod> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let ours = format!("{}={control_plane_ns}", labels::CONTROL_PLANE_NS);
    let pods = api.list(&ListParams::default().labels(&ours)).await;
    let pods = pods.map_err(|e| explain(e, "cannot list pods"))?;
    let running = |pod: &Pod| {
        let phase = pod
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref());
        !matches!(phase, Some("Succeeded" | "Failed"))
    };
    let meshed = |pod: &Pod| sidecar_ready(pod).is_some() && running(pod);
    Ok(pods.into_iter().filter(meshed).collect())
}

/// Whether the sidecar of a pod is ready; `None` for a pod without one.
fn sidecar_ready(pod: &Pod) -> Option<bool> {
    let spec = pod.spec.as_ref()?;
    let all = spec.containers.iter();
    let mut all = all.chain(spec.init_containers.iter().flatten());
    all.find(|container| container.name == names::PROXY_CONTAINER)?;
    let status = pod.status.as_ref();
    let statuses = status.into_iter().flat_map(|status| {
        let ordinary = status.container_statuses.iter().flatten();
        ordinary.chain(status.init_container_statuses.iter().flatten())
    });
    let mut own = statuses.filter(|status| status.name == names::PROXY_CONTAINER);
    Some(own.any(|status| status.ready))
}

/// Whether a pod has a sidecar that is ready.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    sidecar_ready(pod) == Some(true)
}

/// Whether a pod has an annotation of that value.
pub(crate) fn says(pod: &Pod, annotation: &str, value: &str) -> bool {
    pod.annotations()
        .get(annotation)
        .is_some_and(|v| v == value)
}

/// That there are no such pods; else how many, and some of them.
pub(crate) fn none<'p>(what: &str, pods: impl Iterator<Item = &'p Pod>) -> anyhow::Result<()> {
    let names: Vec<_> = pods
        .map(|pod| format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any()))
        .collect();
    if names.is_empty() {
        return Ok(());
    }
    let some = names.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
    bail!("{} of them {what}: {some}", names.len());
}
