//! Real faults: SIGKILL to every process of a pod, with restarts held until it is healed.

use super::world::World;
use crate::supervise::processes;
use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, Patch, PatchParams},
};
use mesh_contract::{annotations, env};
use rustix::process::Signal;
use serde_json::json;
use std::time::{SystemTime, UNIX_EPOCH};

/// The pods of one workload in one cluster.
#[derive(Clone, Copy, Debug)]
pub(super) struct Victim {
    pub(super) cluster: &'static str,
    pub(super) namespace: &'static str,
    pub(super) selector: &'static str,
}

/// Kills every process of every pod of `victim`; when, in milliseconds since the epoch.
pub(super) async fn kill(world: &World, victim: Victim) -> anyhow::Result<u64> {
    let pods = pods(world, victim).await?;
    hold(world, victim, &pods, true).await?;
    let at = now_ms();
    for pod in &pods {
        let ip = pod.status.as_ref().and_then(|s| s.pod_ip.as_deref());
        let ip = ip.with_context(|| format!("the pod {} has no address", pod.name_any()))?;
        let killed = processes::signal_all(&format!("{}={ip}", env::LOOPBACK_POD_IP), Signal::KILL);
        ensure!(
            killed > 0,
            "the pod {} has no process to kill",
            pod.name_any()
        );
    }
    Ok(at)
}

/// Lets the node agent start the pods' containers again; when.
pub(super) async fn heal(world: &World, victim: Victim) -> anyhow::Result<u64> {
    let pods = pods(world, victim).await?;
    let at = now_ms();
    hold(world, victim, &pods, false).await?;
    Ok(at)
}

/// Milliseconds since the epoch.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

async fn pods(world: &World, victim: Victim) -> anyhow::Result<Vec<Pod>> {
    let client = world.client(victim.cluster)?;
    let api: Api<Pod> = Api::namespaced(client, victim.namespace);
    let pods = api
        .list(&ListParams::default().labels(victim.selector))
        .await?
        .items;
    ensure!(
        !pods.is_empty(),
        "no pod matches {} in {}",
        victim.selector,
        victim.cluster
    );
    Ok(pods)
}

async fn hold(world: &World, victim: Victim, pods: &[Pod], held: bool) -> anyhow::Result<()> {
    let api: Api<Pod> = Api::namespaced(world.client(victim.cluster)?, victim.namespace);
    let value = if held { json!("true") } else { json!(null) };
    let patch = json!({ "metadata": { "annotations": { annotations::HOLD_RESTARTS: value } } });
    for pod in pods {
        api.patch(
            &pod.name_any(),
            &PatchParams::default(),
            &Patch::Merge(&patch),
        )
        .await?;
    }
    Ok(())
}
