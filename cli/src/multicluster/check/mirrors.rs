//! What was imported: whether every Service has endpoints, belongs to a Link, and was not refused.

use super::Scene;
use crate::{
    checks::{Outcome, Report},
    cluster::explain,
};
use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use kube::{Api, ResourceExt as _, api::ListParams};
use mesh_api::link::{Link, ServiceStatus};
use mesh_contract::labels;
use std::collections::BTreeSet;

/// Namespace and name.
type Key = (String, String);

/// Checks what every Link says of its Services, and the Services themselves.
pub(super) async fn check(scene: &Scene<'_>, report: &mut Report, links: &[Link]) {
    for link in links {
        for refused in refused(link) {
            report.add(refused.0, refused.1);
        }
    }
    let selector = ListParams::default().labels(&format!("{}=true", labels::MIRRORED_SERVICE));
    let services = Api::<Service>::all(scene.client.clone())
        .list(&selector)
        .await;
    let slices = Api::<EndpointSlice>::all(scene.client.clone())
        .list(&selector)
        .await;
    let (services, slices) = match (services, slices) {
        (Ok(services), Ok(slices)) => (services, slices),
        (Err(error), _) | (_, Err(error)) => {
            report.require(
                "mirrored Services can be read",
                Err::<(), _>(explain(error, "cannot list mirrored Services")),
                "check your role",
            );
            return;
        }
    };
    let clusters: BTreeSet<String> = links
        .iter()
        .flat_map(|link| [Some(link.name_any()), link.spec.target_cluster_name.clone()])
        .flatten()
        .collect();
    let ready = ready(&slices.items);
    let mut trouble = false;
    for service in &services {
        if let Some((claim, outcome)) = judge(service, &clusters, &ready) {
            trouble = true;
            report.add(claim, outcome);
        }
    }
    if !trouble {
        report.add(
            format!(
                "all mirrored Services ({}) are part of a Link and have endpoints",
                services.items.len()
            ),
            Outcome::Success,
        );
    }
}

/// Exports that are not mirrored, as the Link says.
fn refused(link: &Link) -> Vec<(String, Outcome)> {
    let status = link.status.clone().unwrap_or_default();
    let tell = |service: &ServiceStatus| {
        let condition = service.conditions.iter().find(|c| c.status == "False")?;
        let of = &service.remote_ref;
        Some((
            format!(
                "{}: {}/{} is mirrored",
                link.name_any(),
                of.namespace,
                of.name
            ),
            Outcome::Warning {
                cause: condition.reason.clone(),
                remedy: condition.message.clone(),
            },
        ))
    };
    let mirrors = status.mirror_services.iter().filter_map(tell);
    mirrors
        .chain(status.federated_services.iter().filter_map(tell))
        .collect()
}

/// Services with an endpoint that is ready.
fn ready(slices: &[EndpointSlice]) -> BTreeSet<Key> {
    let is_ready = |slice: &&EndpointSlice| {
        slice.endpoints.iter().any(|endpoint| {
            let conditions = endpoint.conditions.as_ref();
            conditions.and_then(|c| c.ready).unwrap_or(true)
        })
    };
    slices
        .iter()
        .filter(is_ready)
        .filter_map(|slice| {
            Some((
                slice.namespace()?,
                slice.labels().get(labels::SERVICE_NAME)?.clone(),
            ))
        })
        .collect()
}

/// What is wrong with a mirrored Service.
fn judge(
    service: &Service,
    clusters: &BTreeSet<String>,
    ready: &BTreeSet<Key>,
) -> Option<(String, Outcome)> {
    let (namespace, name) = (service.namespace().unwrap_or_default(), service.name_any());
    // A federated service is of no one cluster: its local member may be all it has.
    let cluster = service.labels().get(labels::MIRROR_CLUSTER_NAME)?;
    if !clusters.contains(cluster) {
        return Some((
            format!("{namespace}/{name} is part of a Link"),
            Outcome::Warning {
                cause: format!("it mirrors the cluster {cluster:?}, which is not linked"),
                remedy: "the service mirror removes it once it runs; else delete it".into(),
            },
        ));
    }
    if !ready.contains(&(namespace.clone(), name.clone())) {
        return Some((
            format!("{namespace}/{name} has endpoints that are ready"),
            Outcome::Error {
                cause: "no endpoint is ready: the service or its gateway is down there".into(),
                remedy: format!("look at the service in the cluster {cluster:?}"),
            },
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_mirror_needs_a_link_and_an_endpoint_that_is_ready() {
        let service: Service = serde_json::from_value(json!({"metadata": {
            "namespace": "default", "name": "web-east",
            "labels": {"mirror.linkerd.io/cluster-name": "east"},
        }}))
        .unwrap();
        let slice = |ready: bool| -> EndpointSlice {
            serde_json::from_value(json!({
                "metadata": {"namespace": "default", "name": "web-east",
                             "labels": {"kubernetes.io/service-name": "web-east"}},
                "addressType": "IPv4",
                "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": ready}}],
            }))
            .unwrap()
        };
        let east = BTreeSet::from(["east".to_owned()]);
        let judged = |clusters: &BTreeSet<String>, slices: &[EndpointSlice]| {
            judge(&service, clusters, &ready(slices)).map(|(_, outcome)| outcome)
        };
        assert_eq!(judged(&east, &[slice(true)]), None);
        assert!(matches!(
            judged(&east, &[slice(false)]),
            Some(Outcome::Error { .. })
        ));
        assert!(matches!(judged(&east, &[]), Some(Outcome::Error { .. })));
        let none = BTreeSet::new();
        assert!(matches!(
            judged(&none, &[slice(true)]),
            Some(Outcome::Warning { .. })
        ));
    }
}
