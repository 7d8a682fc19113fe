//! `--proxy`: the sidecars there are.

pub(super) mod trust;

use super::Scene;
use crate::{
    checks::Report,
    sidecars::{self, is_ready, none, says},
};
use anyhow::bail;
use k8s_openapi::api::core::v1::Pod;
use mesh_contract::annotations;
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
        some(scene, namespace).await,
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

async fn some(scene: &Scene<'_>, namespace: Option<&str>) -> anyhow::Result<Vec<Pod>> {
    let pods = sidecars::meshed(&scene.client, scene.control_plane_ns, namespace).await?;
    if pods.is_empty() {
        bail!("no pod has a sidecar");
    }
    Ok(pods)
}
