//! The decision: which objects should exist here, given what is known. Pure.

mod diff;
mod federated;
mod headless;
mod links;
mod metadata;
mod mirrors;
mod object;
mod pods;

#[cfg(test)]
mod tests;

pub(crate) use diff::manages;
pub use diff::{Action, ObjectKey, diff, is_ours};
pub use object::{DesiredEndpoint, DesiredService, DesiredSlice};

use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use mesh_api::link::Link;
use mesh_clusters::{RemoteState, snapshot::Key};
use mesh_contract::labels;
use std::collections::{BTreeMap, BTreeSet};

/// Longest name of a Service (RFC 1035 label).
const MAX_NAME: usize = 63;

/// The objects of this cluster that matter.
#[derive(Clone, Debug, Default)]
pub struct Local {
    /// Names of the namespaces.
    pub namespaces: BTreeSet<String>,
    /// Every Service.
    pub services: BTreeMap<Key, Service>,
    /// The EndpointSlices the service mirror manages.
    pub slices: BTreeMap<Key, EndpointSlice>,
}

/// All that a plan depends on.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Linked clusters, by the name of their Link.
    pub remotes: &'a BTreeMap<String, RemoteState>,
    /// This cluster.
    pub local: &'a Local,
    /// Whether headless Services are mirrored as such.
    pub headless: bool,
}

/// What became of one Service of a linked cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The Link it came by.
    pub link: String,
    /// The Service there.
    pub remote: Key,
    /// The Service here.
    pub local: Option<String>,
    /// Whether it joins a federated service, or has a mirror of its own.
    pub federated: bool,
    /// How it went.
    pub result: Result<String, Problem>,
}

/// Why a Service is not mirrored; shown in the Link's status and as an Event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// One word in CamelCase.
    pub reason: &'static str,
    /// Cause and remedy.
    pub message: String,
}

/// What should exist here.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Services, by namespace and name.
    pub services: BTreeMap<Key, DesiredService>,
    /// EndpointSlices, by namespace and name.
    pub slices: BTreeMap<Key, DesiredSlice>,
    /// Objects of these clusters stay as they are: their cluster was not heard since this process
    /// started, and silence does not mean empty.
    pub unheard: BTreeSet<String>,
    /// Links that are not followed, and why.
    pub rejected: BTreeMap<String, Problem>,
    /// Services that stay as they are, with their slices: what they stand for cannot be read.
    pub kept: BTreeSet<Key>,
    /// What became of each Service.
    pub reports: Vec<Report>,
}

impl Plan {
    /// Turns what was planned but cannot be written into problems.
    pub(crate) fn note_failures<'a>(
        &mut self,
        failures: impl Iterator<Item = (&'a ObjectKey, &'a str)>,
    ) {
        for (key, error) in failures {
            let service = match key {
                ObjectKey::Service(key) => key.clone(),
                ObjectKey::Slice(key) => match self.slices.get(key).and_then(|s| s.service()) {
                    Some(name) => (key.0.clone(), name.to_owned()),
                    None => continue,
                },
            };
            for report in &mut self.reports {
                let here = report.local.as_deref() == Some(service.1.as_str());
                if here && report.remote.0 == service.0 {
                    report.local = None;
                    report.result = Err(Problem {
                        reason: "WriteFailed",
                        message: format!(
                            "it cannot be written here, and is tried again: {error}. Where that \
                             is forbidden, apply the output of 'mesh multicluster install' here \
                             again"
                        ),
                    });
                }
            }
        }
    }
}

/// Plans for all that is known.
pub fn plan(input: Input<'_>) -> Plan {
    let mut plan = Plan {
        unheard: input
            .remotes
            .values()
            .filter(|remote| !remote.snapshot.synced)
            .map(cluster_name)
            .collect(),
        rejected: links::rejected(input.remotes),
        ..Plan::default()
    };
    let accepted: BTreeMap<_, _> = input
        .remotes
        .iter()
        .filter(|(link, _)| !plan.rejected.contains_key(*link))
        .map(|(link, remote)| (link.clone(), remote.clone()))
        .collect();
    let input = Input {
        remotes: &accepted,
        ..input
    };
    mirrors::plan(input, &mut plan);
    federated::plan(input, &mut plan);
    plan
}

/// The name mirrors carry: the Link's targetClusterName, or its own.
pub fn cluster_name(remote: &RemoteState) -> String {
    cluster_of(&remote.link)
}

/// The name of the cluster that `link` links.
pub(crate) fn cluster_of(link: &Link) -> String {
    let named = link.spec.target_cluster_name.clone();
    named
        .filter(|name| !name.is_empty())
        .or_else(|| link.metadata.name.clone())
        .unwrap_or_default()
}

/// Whether the mirror wrote this Service for `cluster`, or made `cluster` a member of it.
pub(crate) fn speaks_for(service: &Service, cluster: &str) -> bool {
    mirrors::is_mirror_of(service, cluster)
        || (federated::is_federated(service) && federated::has_member(service, cluster))
}

/// Whether the mirror wrote this slice for `cluster`.
pub(crate) fn is_slice_of(slice: &EndpointSlice, cluster: &str) -> bool {
    let labels = slice.metadata.labels.as_ref();
    let of = labels.and_then(|labels| labels.get(labels::MIRROR_CLUSTER_NAME));
    manages(slice) && of.is_some_and(|of| of == cluster)
}

/// The DNS name of a Service in its own cluster.
fn fq_name(remote: &RemoteState, (namespace, name): &Key) -> String {
    let domain = remote
        .link
        .spec
        .target_cluster_domain
        .as_deref()
        .filter(|d| !d.is_empty());
    let domain = domain.unwrap_or(mesh_contract::names::DEFAULT_CLUSTER_DOMAIN);
    format!("{name}.{namespace}.svc.{domain}")
}

/// What every new Service here must satisfy.
fn check_place(input: Input<'_>, namespace: &str, name: &str) -> Result<(), Problem> {
    if name.len() > MAX_NAME {
        return Err(Problem {
            reason: "InvalidService",
            message: format!(
                "its name here would be {name:?}, which has {} characters of at most {MAX_NAME}: \
                 shorten the Service's name or the cluster's",
                name.len()
            ),
        });
    }
    if !input.local.namespaces.contains(namespace) {
        return Err(Problem {
            reason: "MissingNamespace",
            message: format!(
                "the namespace {namespace:?} does not exist here: create it \
                 (kubectl create namespace {namespace}) and the Service appears"
            ),
        });
    }
    Ok(())
}

fn conflict(namespace: &str, name: &str) -> Problem {
    Problem {
        reason: "NameConflict",
        message: format!(
            "a Service {namespace}/{name} that is not the service mirror's exists here already \
             and was left alone: rename it, or do not export this Service"
        ),
    }
}
