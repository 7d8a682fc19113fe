//! Mirrors: `<service>-<cluster>`, behind that cluster's gateway or pod to pod.

use super::{
    DesiredService, Input, Plan, Problem, Report, check_place, cluster_name, conflict, fq_name,
    headless, metadata, object, pods,
};
use k8s_openapi::api::core::v1::Service;
use mesh_clusters::{RemoteService, RemoteState, snapshot::Key};
use mesh_contract::{annotations, labels};

pub(super) fn plan(input: Input<'_>, plan: &mut Plan) {
    for (link, remote) in input.remotes {
        for (key, service) in &remote.snapshot.services {
            if !(service.exported || service.remote_discovery) {
                continue;
            }
            let name = format!("{}-{}", service.name, cluster_name(remote));
            let result = mirror(input, plan, remote, service, &name);
            plan.reports.push(Report {
                link: link.clone(),
                remote: key.clone(),
                local: Some(name).filter(|_| result.is_ok()),
                federated: false,
                result,
            });
        }
    }
}

fn mirror(
    input: Input<'_>,
    plan: &mut Plan,
    remote: &RemoteState,
    service: &RemoteService,
    name: &str,
) -> Result<String, Problem> {
    check_place(input, &service.namespace, name)?;
    let mirror = Mirror {
        remote,
        service,
        cluster: cluster_name(remote),
        key: (service.namespace.clone(), name.to_owned()),
    };
    mirror.check_free(input, plan, &mirror.key)?;
    if !service.exported {
        return pods::plan(input, plan, &mirror);
    }
    let gateway = remote.gateway.as_ref().ok_or_else(|| no_gateway(remote))?;
    if input.headless && service.headless && !service.hosts.is_empty() {
        return headless::plan(input, plan, &mirror, gateway);
    }
    let fq = mirror.fq_name();
    let slices = object::slices(mirror.owner(), name, &fq, service, gateway);
    plan.slices.extend(slices);
    plan.services.insert(mirror.key.clone(), mirror.describe());
    Ok(String::new())
}

/// A Service of another cluster that is to appear here under a name of its own.
pub(super) struct Mirror<'a> {
    pub(super) remote: &'a RemoteState,
    pub(super) service: &'a RemoteService,
    /// The cluster it comes from.
    pub(super) cluster: String,
    /// What it is called here.
    pub(super) key: Key,
}

impl Mirror<'_> {
    /// Whom its slices speak for.
    pub(super) fn owner(&self) -> object::Owner<'_> {
        object::Owner {
            namespace: &self.key.0,
            service: &self.key.1,
            cluster: &self.cluster,
        }
    }

    /// Its DNS name in its own cluster.
    pub(super) fn fq_name(&self) -> String {
        let service = self.service;
        let key: Key = (service.namespace.clone(), service.name.clone());
        fq_name(self.remote, &key)
    }

    /// The Service here.
    pub(super) fn describe(&self) -> DesiredService {
        let (service, link) = (self.service, Some(&self.remote.link.spec));
        let mut desired = DesiredService {
            labels: metadata::imported_labels(service, link),
            annotations: metadata::imported_annotations(service, link),
            ports: service.ports.clone(),
            headless: false,
        };
        let text = |text: &str| text.to_owned();
        desired.labels.extend([
            (text(labels::MIRRORED_SERVICE), text("true")),
            (text(labels::MIRROR_CLUSTER_NAME), self.cluster.clone()),
        ]);
        desired.annotations.extend([
            (text(annotations::REMOTE_SVC_FQ_NAME), self.fq_name()),
            (
                text(annotations::REMOTE_RESOURCE_VERSION),
                service.resource_version.clone(),
            ),
        ]);
        desired
    }

    /// Refuses a name that is somebody else's, or another Service's of this plan.
    pub(super) fn check_free(
        &self,
        input: Input<'_>,
        plan: &Plan,
        key: &Key,
    ) -> Result<(), Problem> {
        let existing = input.local.services.get(key);
        let taken = existing.is_some_and(|service| !is_mirror_of(service, &self.cluster));
        if taken || plan.services.contains_key(key) || plan.kept.contains(key) {
            return Err(conflict(&key.0, &key.1));
        }
        Ok(())
    }
}

/// Whether the mirror wrote this Service for `cluster`.
pub(super) fn is_mirror_of(service: &Service, cluster: &str) -> bool {
    let label = |key: &str| {
        service
            .metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get(key))
            .map(String::as_str)
    };
    label(labels::MIRRORED_SERVICE) == Some("true")
        && label(labels::MIRROR_CLUSTER_NAME) == Some(cluster)
}

pub(super) fn no_gateway(remote: &RemoteState) -> Problem {
    let message = remote.gateway_error.clone().unwrap_or_else(|| {
        "its cluster is linked without a gateway: link it again with --gateway".to_owned()
    });
    Problem {
        reason: "InvalidService",
        message,
    }
}
