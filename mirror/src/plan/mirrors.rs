//! Mirrors: `<service>-<cluster>`, behind that cluster's gateway.

use super::{
    DesiredService, Input, Plan, Problem, Report, check_place, cluster_name, conflict, fq_name,
    metadata, object,
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
    if !service.exported {
        return Err(Problem {
            reason: "InvalidService",
            message: "pod-to-pod mirroring is not supported: export it through the gateway with \
                      the label mirror.linkerd.io/exported: \"true\""
                .to_owned(),
        });
    }
    let gateway = remote.gateway.as_ref().ok_or_else(|| no_gateway(remote))?;
    check_place(input, &service.namespace, name)?;
    let key = (service.namespace.clone(), name.to_owned());
    let cluster = cluster_name(remote);
    let taken = input
        .local
        .services
        .get(&key)
        .is_some_and(|s| !is_mirror_of(s, &cluster));
    if taken || plan.services.contains_key(&key) {
        return Err(conflict(&key.0, &key.1));
    }
    let remote_key: Key = (service.namespace.clone(), service.name.clone());
    let fq = fq_name(remote, &remote_key);
    let mut desired = DesiredService {
        labels: metadata::imported_labels(service, Some(&remote.link.spec)),
        annotations: metadata::imported_annotations(service, Some(&remote.link.spec)),
        ports: service.ports.clone(),
    };
    desired
        .labels
        .insert(labels::MIRRORED_SERVICE.into(), "true".into());
    desired
        .labels
        .insert(labels::MIRROR_CLUSTER_NAME.into(), cluster.clone());
    desired
        .annotations
        .insert(annotations::REMOTE_SVC_FQ_NAME.into(), fq.clone());
    desired.annotations.insert(
        annotations::REMOTE_RESOURCE_VERSION.into(),
        service.resource_version.clone(),
    );
    plan.slices
        .extend(object::slices(name, name, &cluster, &fq, service, gateway));
    plan.services.insert(key, desired);
    Ok(String::new())
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
