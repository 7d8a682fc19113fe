//! Federated services: `<service>-federated`, the union of the members of that name in this and
//! in linked clusters. Each remote member is one EndpointSlice with its gateway.

use super::{
    DesiredService, Input, Plan, Problem, Report, check_place, cluster_name, conflict, fq_name,
    metadata, mirrors::no_gateway, object,
};
use k8s_openapi::{api::core::v1::Service, jiff::Timestamp};
use mesh_clusters::snapshot::Key;
use mesh_clusters::{RemoteService, RemoteState, snapshot};
use mesh_contract::{annotations, labels, names};
use std::{collections::BTreeMap, sync::Arc};

/// A member of a federated service.
struct Member<'a> {
    /// None for this cluster's own.
    remote: Option<(&'a String, &'a RemoteState)>,
    service: Arc<RemoteService>,
}

pub(super) fn plan(input: Input<'_>, plan: &mut Plan) {
    for (key, members) in members(input) {
        federate(input, plan, &key, &members);
    }
}

fn members(input: Input<'_>) -> BTreeMap<Key, Vec<Member<'_>>> {
    let mut all: BTreeMap<Key, Vec<Member<'_>>> = BTreeMap::new();
    for (key, service) in &input.local.services {
        if is_local_member(service) {
            let service = Arc::new(snapshot::describe(service));
            all.entry(key.clone()).or_default().push(Member {
                remote: None,
                service,
            });
        }
    }
    for (link, remote) in input.remotes {
        for (key, service) in &remote.snapshot.services {
            if service.federated {
                let member = Member {
                    remote: Some((link, remote)),
                    service: service.clone(),
                };
                all.entry(key.clone()).or_default().push(member);
            }
        }
    }
    // A cluster that was not heard yet stays a member of what it was a member of.
    for (key, service) in &input.local.services {
        let unheard = !unheard_entries(service, &plan_unheard(input)).is_empty();
        if let (true, true, Some(name)) = (
            unheard,
            is_federated(service),
            key.1.strip_suffix(names::FEDERATED_SUFFIX),
        ) {
            all.entry((key.0.clone(), name.to_owned())).or_default();
        }
    }
    all
}

fn plan_unheard(input: Input<'_>) -> Vec<String> {
    input
        .remotes
        .values()
        .filter(|r| !r.snapshot.synced)
        .map(cluster_name)
        .collect()
}

fn federate(input: Input<'_>, plan: &mut Plan, key: &Key, members: &[Member<'_>]) {
    let (namespace, name) = (
        key.0.clone(),
        format!("{}{}", key.1, names::FEDERATED_SUFFIX),
    );
    let place = place(input, &namespace, &name);
    let owner = owner(members);
    let mut joined: Vec<&Member<'_>> = Vec::new();
    for member in members {
        let result = place.clone().and_then(|()| join(member, owner));
        if result.is_ok() {
            joined.push(member);
        }
        if let Some((link, _)) = member.remote {
            plan.reports.push(Report {
                link: link.clone(),
                remote: key.clone(),
                local: Some(name.clone()).filter(|_| result.is_ok()),
                federated: true,
                result,
            });
        }
    }
    if place.is_err() {
        return;
    }
    let service_key = (namespace, name);
    let existing = input.local.services.get(&service_key);
    let unheard = existing
        .map(|s| unheard_entries(s, &plan_unheard(input)))
        .unwrap_or_default();
    if joined.is_empty() && unheard.is_empty() {
        return;
    }
    for member in &joined {
        if let Some((_, remote)) = member.remote
            && let Some(gateway) = &remote.gateway
        {
            let cluster = cluster_name(remote);
            let slice = format!("{}-{cluster}", service_key.1);
            let fq = fq_name(remote, key);
            let owner = object::Owner {
                namespace: &service_key.0,
                service: &service_key.1,
                cluster: &cluster,
            };
            let slices = object::slices(owner, &slice, &fq, &member.service, gateway);
            plan.slices.extend(slices);
        }
    }
    let owner = owner.filter(|owner| joined.iter().any(|member| std::ptr::eq(*member, *owner)));
    let desired = describe(
        owner.or(joined.first().copied()),
        existing,
        &joined,
        unheard,
    );
    plan.services.insert(service_key, desired);
}

fn place(input: Input<'_>, namespace: &str, name: &str) -> Result<(), Problem> {
    check_place(input, namespace, name)?;
    let key = (namespace.to_owned(), name.to_owned());
    match input.local.services.get(&key) {
        Some(service) if !is_federated(service) => Err(conflict(namespace, name)),
        _ => Ok(()),
    }
}

fn join(member: &Member<'_>, owner: Option<&Member<'_>>) -> Result<String, Problem> {
    if member.service.headless {
        return Err(Problem {
            reason: "InvalidService",
            message: "a headless Service cannot join a federated service: give it a cluster IP"
                .to_owned(),
        });
    }
    if let Some((_, remote)) = member.remote
        && remote.gateway.is_none()
    {
        return Err(no_gateway(remote));
    }
    let ports = |member: &Member<'_>| {
        let mut ports: Vec<_> = member.service.ports.iter().map(|p| p.port).collect();
        ports.sort_unstable();
        ports
    };
    Ok(match owner {
        Some(owner) if ports(owner) != ports(member) => format!(
            "its ports {:?} differ from the federated service's {:?}: ports it lacks are not \
             answered here",
            ports(member),
            ports(owner)
        ),
        _ => String::new(),
    })
}

/// Whose labels, annotations and ports the federated service has: this cluster's member, else that
/// of the oldest Link, by name where two are of one age.
fn owner<'a, 'b>(members: &'a [Member<'b>]) -> Option<&'a Member<'b>> {
    members
        .iter()
        .filter(|member| !member.service.headless)
        .min_by_key(|member| {
            member.remote.map(|(link, remote)| {
                let created = remote
                    .link
                    .metadata
                    .creation_timestamp
                    .as_ref()
                    .map(|t| t.0);
                (created.unwrap_or(Timestamp::MAX), link)
            })
        })
}

fn describe(
    owner: Option<&Member<'_>>,
    existing: Option<&Service>,
    joined: &[&Member<'_>],
    unheard: Vec<String>,
) -> DesiredService {
    let mut desired = match owner {
        Some(owner) => {
            let link = owner.remote.map(|(_, remote)| &remote.link.spec);
            DesiredService {
                labels: metadata::imported_labels(&owner.service, link),
                annotations: metadata::imported_annotations(&owner.service, link),
                ports: owner.service.ports.clone(),
                headless: false,
            }
        }
        // Only clusters that were not heard yet: what is there stays.
        None => {
            let service = existing.map(snapshot::describe).unwrap_or_default();
            DesiredService {
                labels: service.labels,
                annotations: service.annotations,
                ports: service.ports,
                headless: false,
            }
        }
    };
    let mut remote: Vec<_> = joined
        .iter()
        .filter_map(|member| Some((member.remote?.1, &member.service.name)))
        .map(|(remote, name)| format!("{name}@{}", cluster_name(remote)))
        .chain(unheard)
        .collect();
    remote.sort();
    remote.dedup();
    let local = joined.iter().find(|member| member.remote.is_none());
    desired
        .labels
        .insert(labels::MIRRORED_SERVICE.into(), "true".into());
    for (key, value) in [
        (
            annotations::REMOTE_DISCOVERY,
            Some(remote.join(",")).filter(|list| !list.is_empty()),
        ),
        (
            annotations::LOCAL_DISCOVERY,
            local.map(|member| member.service.name.clone()),
        ),
    ] {
        match value {
            Some(value) => desired.annotations.insert(key.to_owned(), value),
            None => desired.annotations.remove(key),
        };
    }
    desired
}

/// A Service of this cluster's own that is to join.
fn is_local_member(service: &Service) -> bool {
    let labels = service.metadata.labels.as_ref();
    let label = |key: &str| {
        labels
            .and_then(|labels| labels.get(key))
            .map(String::as_str)
    };
    label(labels::FEDERATED) == Some("member") && label(labels::MIRRORED_SERVICE) != Some("true")
}

/// Whether the mirror wrote this Service as a federated one.
pub(super) fn is_federated(service: &Service) -> bool {
    let labels = service.metadata.labels.as_ref();
    let label = |key: &str| {
        labels
            .and_then(|labels| labels.get(key))
            .map(String::as_str)
    };
    let annotations = service.metadata.annotations.as_ref();
    let discovers = |key: &str| annotations.is_some_and(|all| all.contains_key(key));
    label(labels::MIRRORED_SERVICE) == Some("true")
        && label(labels::MIRROR_CLUSTER_NAME).is_none()
        && (discovers(annotations::REMOTE_DISCOVERY) || discovers(annotations::LOCAL_DISCOVERY))
}

/// Whether `cluster` is a member of a federated Service.
pub(super) fn has_member(service: &Service, cluster: &str) -> bool {
    !unheard_entries(service, &[cluster.to_owned()]).is_empty()
}

/// Entries of a federated Service for clusters that were not heard yet.
fn unheard_entries(service: &Service, unheard: &[String]) -> Vec<String> {
    let annotations = service.metadata.annotations.as_ref();
    let list = annotations.and_then(|all| all.get(annotations::REMOTE_DISCOVERY));
    list.iter()
        .flat_map(|list| list.split(','))
        .filter(|entry| {
            entry
                .split_once('@')
                .is_some_and(|(_, cluster)| unheard.iter().any(|u| u == cluster))
        })
        .map(str::to_owned)
        .collect()
}
