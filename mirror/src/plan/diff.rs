//! From what should exist and what does to what to do.

use super::{Local, Plan, federated::is_federated, object::is_headless};
use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use mesh_clusters::snapshot::Key;
use mesh_contract::{labels, names};
use std::collections::BTreeMap;

/// One write. A write to something that exists carries its uid and revision, so that it fails
/// rather than touch what somebody else made in the meantime.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Make a Service; fails if there is one of that name.
    CreateService(Box<Service>),
    /// Change our Service.
    ReplaceService(Box<Service>),
    /// Remove our Service.
    DeleteService(Box<Service>),
    /// Make a slice; fails if there is one of that name.
    CreateSlice(Box<EndpointSlice>),
    /// Change our slice.
    ReplaceSlice(Box<EndpointSlice>),
    /// Remove our slice.
    DeleteSlice(Box<EndpointSlice>),
}

/// What an action is about; failures are remembered by it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectKey {
    /// A Service.
    Service(Key),
    /// An EndpointSlice.
    Slice(Key),
}

/// The writes that turn `local` into `plan`. Slices wait for their Service: by its name they would
/// speak for a Service that somebody else made a moment ago.
pub fn diff(plan: &Plan, local: &Local) -> Vec<(ObjectKey, Action)> {
    let mut actions = Vec::new();
    for (key, desired) in &plan.services {
        let action = match local.services.get(key) {
            None => Action::CreateService(Box::new(desired.create(key))),
            Some(current) if desired.is(current) => continue,
            // A cluster IP can be neither given nor taken away: it is made anew in the next step.
            Some(current) if desired.headless != is_headless(current) => {
                Action::DeleteService(Box::new(current.clone()))
            }
            Some(current) => Action::ReplaceService(Box::new(desired.replace(current))),
        };
        actions.push((ObjectKey::Service(key.clone()), action));
    }
    for (key, desired) in &plan.slices {
        let service = desired
            .service()
            .map(|name| (key.0.clone(), name.to_owned()));
        let service = service.and_then(|key| local.services.get(&key));
        let action = match local.slices.get(key) {
            _ if !service.is_some_and(is_ours) => continue,
            None => Action::CreateSlice(Box::new(desired.render(key, None))),
            Some(current) if desired.is(key, current) => continue,
            Some(current) => Action::ReplaceSlice(Box::new(desired.render(key, Some(current)))),
        };
        actions.push((ObjectKey::Slice(key.clone()), action));
    }
    for (key, slice) in &local.slices {
        let kept = service_of(slice)
            .is_some_and(|name| plan.kept.contains(&(key.0.clone(), name.to_owned())));
        if !plan.slices.contains_key(key) && !kept && may_go(plan, slice.metadata.labels.as_ref()) {
            let action = Action::DeleteSlice(Box::new(slice.clone()));
            actions.push((ObjectKey::Slice(key.clone()), action));
        }
    }
    for (key, service) in &local.services {
        if !plan.services.contains_key(key)
            && !plan.kept.contains(key)
            && is_ours(service)
            && may_go(plan, service.metadata.labels.as_ref())
        {
            let action = Action::DeleteService(Box::new(service.clone()));
            actions.push((ObjectKey::Service(key.clone()), action));
        }
    }
    actions
}

fn service_of(slice: &EndpointSlice) -> Option<&str> {
    let labels = slice.metadata.labels.as_ref()?;
    labels.get(labels::SERVICE_NAME).map(String::as_str)
}

/// Whether the mirror wrote this Service, and so may remove it: one label alone says too little.
pub fn is_ours(service: &Service) -> bool {
    let labels = service.metadata.labels.as_ref();
    let label = |key: &str| labels.and_then(|labels| labels.get(key));
    let mirror = label(labels::MIRRORED_SERVICE).is_some_and(|v| v == "true")
        && label(labels::MIRROR_CLUSTER_NAME).is_some();
    mirror || is_federated(service)
}

/// Whether an object that is not planned may be removed: not while its cluster is linked but was
/// not heard yet.
fn may_go(plan: &Plan, labels: Option<&BTreeMap<String, String>>) -> bool {
    let cluster = labels.and_then(|labels| labels.get(labels::MIRROR_CLUSTER_NAME));
    cluster.is_none_or(|cluster| !plan.unheard.contains(cluster))
}

/// Whether the mirror manages this slice.
pub(crate) fn manages(slice: &EndpointSlice) -> bool {
    let labels = slice.metadata.labels.as_ref();
    labels
        .and_then(|all| all.get(labels::SLICE_MANAGED_BY))
        .map(String::as_str)
        == Some(names::SLICE_MANAGER)
}
