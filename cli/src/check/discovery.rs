//! Discovery and policy as sidecars ask for them: over mTLS, as a workload.

use super::Scene;
use crate::{
    checks::Report,
    retry::{Trouble, retried},
    workload::Workload,
};
use anyhow::{Context as _, bail};
use linkerd2_proxy_api::destination::{GetDestination, destination_client::DestinationClient};
use mesh_contract::{names, ports};
use std::time::Duration;
use tokio::time::timeout;

/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(5);

/// Checks that it answers; waits for what is still starting, or has yet to follow a new anchor.
pub(super) async fn check(scene: &Scene<'_>, report: &mut Report, workload: &Workload) {
    let answered = retried(scene.wait, async || {
        let asked = timeout(ANSWER, ask(scene, workload)).await;
        let answered = asked.with_context(|| format!("no answer within {ANSWER:?}"));
        answered.flatten().map_err(Trouble::Now)
    });
    let answered = answered.await;
    report.attempt(
        "discovery answers a workload, asked from here",
        answered,
        "look at kubectl logs deploy/linkerd-destination; after trust anchors were replaced it \
         follows once the kubelet has brought it the ConfigMap, within about a minute",
    );
}

/// Asks for something that there always is.
async fn ask(scene: &Scene<'_>, workload: &Workload) -> anyhow::Result<()> {
    let channel = workload.destination(names::DST_HEADLESS, ports::DESTINATION)?;
    let (name, port) = (names::DST_HEADLESS, ports::DESTINATION);
    let (namespace, domain) = (scene.control_plane_ns, &workload.values.cluster_domain);
    let request = GetDestination {
        path: format!("{name}.{namespace}.svc.{domain}:{port}"),
        ..GetDestination::default()
    };
    let answer = DestinationClient::new(channel).get(request).await;
    let mut updates = answer.context("asking failed")?.into_inner();
    let first = updates.message().await;
    if first.context("it broke off")?.is_none() {
        bail!("it ended without an answer");
    }
    Ok(())
}
