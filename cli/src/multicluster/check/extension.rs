//! What this cluster has of the extension: the Link kind, the service mirror and its rights.

use super::{Scene, rights};
use crate::{
    checks::Report,
    cluster::explain,
    retry::{Trouble, retried},
};
use anyhow::{Context as _, bail};
use k8s_openapi::{
    api::{apps::v1::Deployment, coordination::v1::Lease},
    jiff::Timestamp,
};
use kube::{Api, ResourceExt as _, api::ListParams};
use mesh_api::link::Link;
use mesh_contract::{annotations, labels, names};
use std::time::Duration;

/// The lease that the one service mirror which writes holds.
const LEASE: &str = "service-mirror-write";
/// How long a mirror that runs may take to get it.
const LEASE_TAKEN_WITHIN: Duration = Duration::from_secs(10);
const INSTALL: &str = "install the extension: mesh multicluster install | kubectl apply -f -";

/// Checks it; the Links, where they can be read.
pub(super) async fn check(
    scene: &Scene<'_>,
    report: &mut Report,
    wait: Duration,
) -> Option<Vec<Link>> {
    let namespace = scene.namespace;
    let links: Api<Link> = Api::namespaced(scene.client.clone(), namespace);
    let listed = links.list(&ListParams::default()).await;
    let links = report.require(
        "the Link CRD exists and Links can be read",
        listed.map_err(|e| explain(e, &format!("cannot list Links in {namespace}"))),
        INSTALL,
    );
    // Where the extension is not installed, or nothing answers, waiting will not help.
    let wait = links.as_ref().map_or(Duration::ZERO, |_| wait);
    let mirror = running(scene, names::SERVICE_MIRROR, wait).await;
    let mirror = report.require(
        "the service mirror is running",
        mirror,
        format!(
            "look at its pod: kubectl -n {namespace} describe pod -l {}={}; if there is none, \
             {INSTALL}",
            labels::COMPONENT,
            names::SERVICE_MIRROR
        ),
    );
    let wait = mirror.map_or(Duration::ZERO, |()| wait.min(LEASE_TAKEN_WITHIN));
    report.require(
        "one service mirror holds the lease and writes",
        leads(scene, wait).await,
        format!(
            "look at its log: kubectl -n {namespace} logs deployment/{}",
            names::SERVICE_MIRROR
        ),
    );
    report.require(
        "the service mirror has the rights it needs",
        rights::of_mirror(scene).await,
        "apply the extension's roles again: mesh multicluster install | kubectl apply -f -",
    );
    let links = links?.items;
    for link in &links {
        report.expect(
            format!("{}: the Link was made by this release", link.name_any()),
            version(link),
            super::link_again(link),
        );
    }
    Some(links)
}

/// Waits until a Deployment of the extension has an available pod.
pub(super) async fn running(scene: &Scene<'_>, name: &str, wait: Duration) -> anyhow::Result<()> {
    let api: Api<Deployment> = Api::namespaced(scene.client.clone(), scene.namespace);
    let of = format!("{}/{name}", scene.namespace);
    retried(wait, async || {
        let what = format!("cannot read the Deployment {of}");
        let deployment = api.get(name).await;
        // One that is not there does not come by waiting.
        let deployment = deployment.map_err(|e| Trouble::Lasting(explain(e, &what)))?;
        match deployment.status.and_then(|s| s.available_replicas) {
            Some(available) if available > 0 => Ok(()),
            _ => Err(Trouble::Now(anyhow::anyhow!(
                "the Deployment {of} has no available pod"
            ))),
        }
    })
    .await
}

async fn leads(scene: &Scene<'_>, wait: Duration) -> anyhow::Result<()> {
    let api: Api<Lease> = Api::namespaced(scene.client.clone(), scene.namespace);
    retried(wait, async || {
        let what = format!("cannot read the Lease {}/{LEASE}", scene.namespace);
        let lease = api.get(LEASE).await.map_err(|e| Trouble::of(e, &what))?;
        held(&lease, Timestamp::now()).map_err(Trouble::Now)
    })
    .await
}

/// Whether somebody holds the lease at `now`.
fn held(lease: &Lease, now: Timestamp) -> anyhow::Result<()> {
    let spec = lease.spec.as_ref();
    let holder = spec.and_then(|s| s.holder_identity.as_deref());
    let holder = holder
        .filter(|holder| !holder.is_empty())
        .context("nobody holds it")?;
    let renewed = spec.and_then(|s| s.renew_time.as_ref());
    let renewed = renewed.context("it was never renewed")?.0.as_second();
    let lasts = i64::from(spec.and_then(|s| s.lease_duration_seconds).unwrap_or(0));
    if renewed.saturating_add(lasts) < now.as_second() {
        let ago = now.as_second() - renewed;
        bail!("{holder} held it, and has not renewed it for {ago} seconds");
    }
    Ok(())
}

fn version(link: &Link) -> anyhow::Result<()> {
    let made_by = link.annotations().get(annotations::CREATED_BY);
    let ours = mesh_install::created_by();
    match made_by {
        Some(made_by) if *made_by == ours => Ok(()),
        Some(made_by) => bail!("it was made by {made_by}, and this is {ours}"),
        None => bail!(
            "it does not say who made it (annotation {}); this is {ours}",
            annotations::CREATED_BY
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_lease_is_held_while_it_is_renewed() {
        let lease = |holder: &str, renewed: &str| -> Lease {
            serde_json::from_value(json!({"spec": {
                "holderIdentity": holder, "renewTime": renewed, "leaseDurationSeconds": 30,
            }}))
            .unwrap()
        };
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        assert!(held(&lease("pod", "2026-01-01T00:00:40.000000Z"), now).is_ok());
        let error = held(&lease("pod", "2026-01-01T00:00:00.000000Z"), now).unwrap_err();
        assert!(error.to_string().contains("60 seconds"), "{error}");
        assert!(held(&lease("", "2026-01-01T00:01:00.000000Z"), now).is_err());
        assert!(held(&Lease::default(), now).is_err());
    }
}
