//! The gateway of this cluster, and the sidecars of the extension.

use super::{Scene, extension::running};
use crate::{
    checks::Report,
    cluster::explain,
    installation,
    retry::{Trouble, retried},
    sidecars::{is_ready, meshed, none, says},
};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::Api;
use mesh_contract::{annotations, names};
use std::time::Duration;

const RESTART: &str = "restart them: kubectl rollout restart";

/// Checks them, where the extension has any.
pub(super) async fn check(scene: &Scene<'_>, report: &mut Report, wait: Duration) {
    let namespace = scene.namespace;
    if let Some(runs) = gateway(scene, wait).await {
        report.require(
            "the gateway is running",
            runs,
            format!(
                "look at its pod: kubectl -n {namespace} describe pod -l app={0}; if there is none, \
                 install the extension again: mesh multicluster install | kubectl apply -f -",
                names::GATEWAY
            ),
        );
    }
    let mut pods = Vec::new();
    let ready = retried(wait, async || {
        pods = sidecars(scene).await.map_err(Trouble::Lasting)?;
        let unready = pods.iter().filter(|pod| !is_ready(pod));
        none("not ready", unready).map_err(Trouble::Now)
    })
    .await;
    if ready.is_ok() && pods.is_empty() {
        return;
    }
    report.expect(
        "the extension's sidecars are ready",
        ready,
        format!(
            "look at kubectl -n {namespace} describe pods, and at the log of the container {}",
            names::PROXY_CONTAINER
        ),
    );
    if pods.is_empty() {
        // That they cannot be listed is told once.
        return;
    }
    let installed = installation::values(&scene.client, &scene.cluster.control_plane_ns).await;
    report.expect(
        "the extension's sidecars are of the control plane's version",
        installed.and_then(|values| of_version(&pods, &values.linkerd_version)),
        RESTART,
    );
    report.expect(
        "the extension's sidecars are of this command's version",
        of_version(&pods, env!("CARGO_PKG_VERSION")),
        RESTART,
    );
}

/// Whether the gateway runs; none where the extension was installed without.
async fn gateway(scene: &Scene<'_>, wait: Duration) -> Option<anyhow::Result<()>> {
    let api: Api<Service> = Api::namespaced(scene.client.clone(), scene.namespace);
    match api.get_opt(names::GATEWAY).await {
        Ok(None) => None,
        Ok(Some(_)) => Some(running(scene, names::GATEWAY, wait).await),
        Err(error) => Some(Err(explain(error, "cannot look for the gateway's Service"))),
    }
}

async fn sidecars(scene: &Scene<'_>) -> anyhow::Result<Vec<Pod>> {
    let control_plane_ns = &scene.cluster.control_plane_ns;
    meshed(&scene.client, control_plane_ns, Some(scene.namespace)).await
}

fn of_version(pods: &[Pod], version: &str) -> anyhow::Result<()> {
    let others = pods
        .iter()
        .filter(|pod| !says(pod, annotations::PROXY_VERSION, version));
    none(&format!("not {version}"), others)
}
