//! `--proxy`: the sidecars there are.

pub(super) mod trust;

use super::Scene;
use crate::{checks::Report, cluster::explain};
use anyhow::bail;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt as _, api::ListParams};
use mesh_contract::{annotations, labels, names};
use mesh_install::values::Values;

pub(super) async fn check(
    scene: &Scene<'_>,
    report: &mut Report,
    values: &Values,
    trust: anyhow::Result<trust::Expected>,
    namespace: Option<&str>,
) {
    report.section("data-plane");
    let pods = report.require(
        "there are sidecars, and they can be listed",
        meshed(scene, namespace).await,
        "annotate a namespace with linkerd.io/inject=enabled and restart its workloads, or use mesh \
         inject",
    );
    let Some(pods) = pods else { return };
    report.require(
        "all sidecars are ready",
        none("not ready", pods.iter().filter(|pod| !is_ready(pod))),
        "look at kubectl describe pod, and at the log of its container linkerd-proxy",
    );
    let version = &values.linkerd_version;
    report.expect(
        "all sidecars are of the control plane's version",
        none(
            "other",
            pods.iter()
                .filter(|pod| !says(pod, annotations::PROXY_VERSION, version)),
        ),
        "restart their workloads: kubectl rollout restart",
    );
    let trusted = match trust {
        Ok(expected) => expected.of_all(scene, &pods).await,
        Err(error) => Err(error),
    };
    report.expect(
        "all sidecars trust the trust anchors in use, and are certified under them",
        trusted,
        "a change is told to running sidecars within seconds; one that does not follow (a stock one, or \
         one that cannot reach identity) has to be restarted before the old anchor expires: kubectl \
         rollout restart",
    );
}

async fn meshed(scene: &Scene<'_>, namespace: Option<&str>) -> anyhow::Result<Vec<Pod>> {
    let client = scene.client.clone();
    let api: Api<Pod> = match namespace {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    };
    let ours = format!("{}={}", labels::CONTROL_PLANE_NS, scene.control_plane_ns);
    let pods = api.list(&ListParams::default().labels(&ours)).await;
    let pods = pods.map_err(|e| explain(e, "cannot list pods"))?;
    let running = |pod: &Pod| {
        let phase = pod
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref());
        !matches!(phase, Some("Succeeded" | "Failed"))
    };
    let pods: Vec<_> = pods
        .into_iter()
        .filter(|pod| sidecar_ready(pod).is_some() && running(pod))
        .collect();
    if pods.is_empty() {
        bail!("no pod has a sidecar");
    }
    Ok(pods)
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

fn is_ready(pod: &Pod) -> bool {
    sidecar_ready(pod) == Some(true)
}

fn says(pod: &Pod, annotation: &str, value: &str) -> bool {
    pod.annotations()
        .get(annotation)
        .is_some_and(|v| v == value)
}

fn none<'p>(what: &str, pods: impl Iterator<Item = &'p Pod>) -> anyhow::Result<()> {
    let names: Vec<_> = pods
        .map(|pod| format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any()))
        .collect();
    if names.is_empty() {
        return Ok(());
    }
    let some = names.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
    bail!("{} of them {what}: {some}", names.len());
}
