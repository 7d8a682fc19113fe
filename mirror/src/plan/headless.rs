//! Headless mirrors: `<service>-<cluster>` without an address of its own, and for each endpoint that
//! has a name there, `<name>-<cluster>` behind the gateway. So `<name>.<service>-<cluster>` resolves
//! here, and leads to that very pod.

use super::{Input, Plan, Problem, check_place, mirrors::Mirror, object};
use k8s_openapi::api::core::v1::Service;
use mesh_clusters::{Gateway, RemoteService, snapshot::Key};
use mesh_contract::{annotations, labels};
use std::net::IpAddr;

/// Plans the mirror and its endpoint mirrors; what there is to say of it.
pub(super) fn plan(
    input: Input<'_>,
    plan: &mut Plan,
    mirror: &Mirror<'_>,
    gateway: &Gateway,
) -> Result<String, Problem> {
    let mut root = mirror.describe();
    root.headless = true;
    // Taken first, so that no endpoint's name can be its own.
    plan.services.insert(mirror.key.clone(), root);
    let mut addresses = Vec::new();
    let mut left_out = Vec::new();
    for (host, ready) in &mirror.service.hosts {
        match endpoint(input, plan, mirror, gateway, (host, *ready)) {
            Ok(key) => {
                let ip = input.local.services.get(&key).and_then(cluster_ip);
                addresses.extend(ip.map(|ip| (host.clone(), ip)));
            }
            Err(problem) => left_out.push(format!("{host} is left out: {}", problem.message)),
        }
    }
    let slices = object::name_slices(mirror.owner(), &mirror.service.ports, addresses.into_iter());
    plan.slices.extend(slices);
    Ok(left_out.join("; "))
}

/// Plans the mirror of one endpoint; what it is called here.
fn endpoint(
    input: Input<'_>,
    plan: &mut Plan,
    mirror: &Mirror<'_>,
    gateway: &Gateway,
    (host, ready): (&str, bool),
) -> Result<Key, Problem> {
    let (namespace, root) = &mirror.key;
    let key = (namespace.clone(), format!("{host}-{}", mirror.cluster));
    check_place(input, namespace, &key.1)?;
    mirror.check_free(input, plan, &key)?;
    let fq = format!("{host}.{}", mirror.fq_name());
    let mut desired = mirror.describe();
    desired
        .labels
        .insert(labels::HEADLESS_MIRROR.to_owned(), root.clone());
    desired
        .annotations
        .insert(annotations::REMOTE_SVC_FQ_NAME.to_owned(), fq.clone());
    let owner = object::Owner {
        namespace,
        service: &key.1,
        cluster: &mirror.cluster,
    };
    let of_host = RemoteService {
        ready,
        ..mirror.service.clone()
    };
    let slices = object::slices(owner, &key.1, &fq, &of_host, gateway);
    plan.slices.extend(slices);
    plan.services.insert(key.clone(), desired);
    Ok(key)
}

/// The address of a Service that is there already.
fn cluster_ip(service: &Service) -> Option<IpAddr> {
    service.spec.as_ref()?.cluster_ip.as_deref()?.parse().ok()
}
