//! The end of a Link: it goes once everything that was made for it is gone.
//!
//! A finalizer is a promise. It is given before anything is made for a Link, so that whoever
//! deletes the Link (`kubectl delete` waits) knows when its mirrors are gone; and it is kept by
//! whoever holds the lease then.

use crate::plan::{self, Local};
use kube::{
    Api, Error, ResourceExt as _,
    api::{Patch, PatchParams},
};
use mesh_api::link::Link;
use mesh_clusters::RemoteState;
use mesh_contract::names::LINK_FINALIZER;
use mesh_watch::said;
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

const TIMEOUT: Duration = Duration::from_secs(5);

/// Gives every Link the finalizer; whether all have it.
pub(crate) async fn promise(api: &Api<Link>, remotes: &BTreeMap<String, RemoteState>) -> bool {
    let mut all = true;
    for remote in remotes.values() {
        let link = &remote.link;
        if !link.finalizers().iter().any(|f| f == LINK_FINALIZER) {
            let mut finalizers = link.finalizers().to_vec();
            finalizers.push(LINK_FINALIZER.to_owned());
            all &= patch(api, link, finalizers).await;
        }
    }
    all
}

/// Lets every Link go that nothing is left of; whether all that could go went.
pub(crate) async fn let_go(
    api: &Api<Link>,
    leaving: &[Link],
    remotes: &BTreeMap<String, RemoteState>,
    local: &Local,
) -> bool {
    let linked: BTreeSet<_> = remotes.values().map(plan::cluster_name).collect();
    let mut all = true;
    for link in leaving {
        let cluster = plan::cluster_of(link);
        let left = match linked.contains(&cluster) {
            true => 0, // what there is belongs to another Link of that name
            false => left(local, &cluster),
        };
        if left > 0 {
            tracing::info!(
                link = link.name_any(),
                left,
                "waits for what was made for it to go"
            );
        } else if link.finalizers().iter().any(|f| f == LINK_FINALIZER) {
            let mut finalizers = link.finalizers().to_vec();
            finalizers.retain(|f| f != LINK_FINALIZER);
            all &= patch(api, link, finalizers).await;
        }
    }
    all
}

/// How many objects here are of `cluster`.
fn left(local: &Local, cluster: &str) -> usize {
    let services = local.services.values();
    let services = services.filter(|service| plan::speaks_for(service, cluster));
    let slices = local.slices.values();
    let slices = slices.filter(|slice| plan::is_slice_of(slice, cluster));
    services.count() + slices.count()
}

/// Sets the finalizers of the Link as it was seen; whether that worked, or need not.
async fn patch(api: &Api<Link>, link: &Link, finalizers: Vec<String>) -> bool {
    let name = link.name_any();
    let patch = Patch::Merge(json!({ "metadata": {
        "uid": link.uid(),
        "resourceVersion": link.resource_version(),
        "finalizers": finalizers,
    }}));
    let params = PatchParams::default();
    match tokio::time::timeout(TIMEOUT, api.patch(&name, &params, &patch)).await {
        Ok(Ok(_)) => true,
        // It is gone, or changed a moment ago: that will be heard.
        Ok(Err(Error::Api(status))) if status.code == 404 || status.code == 409 => true,
        Ok(Err(error)) => {
            tracing::warn!(
                link = name,
                error = said(&error),
                "cannot set the Link's finalizer"
            );
            false
        }
        Err(_) => {
            tracing::warn!(link = name, "cannot set the Link's finalizer: no answer");
            false
        }
    }
}
