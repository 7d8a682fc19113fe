//! The gateway: what the service mirror's probes say, and a request sent through every address of it.

use super::{
    Scene,
    verdict::{Failure, outcome, probed, served},
};
use crate::{
    checks::{Outcome, Report},
    gateway::{Gateway, ask},
    workload::Workload,
};
use anyhow::{Context as _, ensure};
use hyper::{Method, StatusCode};
use k8s_openapi::api::core::v1::Service;
use kube::{Api, ResourceExt as _, api::ListParams};
use mesh_api::link::Link;
use mesh_clusters::gateway::{Located, locate};
use mesh_contract::{annotations, labels, names};
use mesh_daemon::net::Resolver;

/// Whether `link` goes through a gateway.
pub(super) fn has_gateway(link: &Link) -> bool {
    let addresses = link.spec.gateway_address.as_deref();
    addresses.is_some_and(|addresses| !addresses.trim().is_empty())
}

/// Checks the gateway of `link`, if it has one.
pub(super) async fn check(
    scene: &Scene<'_>,
    report: &mut Report,
    link: &Link,
    workload: Option<&Workload>,
) {
    if !has_gateway(link) {
        return;
    }
    let name = link.name_any();
    let alive = probed(scene.namespace, link);
    report.add(
        format!("{name}: the gateway answers the service mirror's probes"),
        alive.clone(),
    );
    let located = located(link).await;
    let located = report.require(
        format!("{name}: the Link says where the gateway is and who it must be"),
        located,
        super::link_again(link),
    );
    let (Some(located), Some(workload)) = (located, workload) else {
        return;
    };
    let exported = exported(scene, link).await;
    for address in &located.addresses {
        let gateway = Gateway {
            address: *address,
            identity: located.identity.clone(),
        };
        let went = through(scene, workload, &gateway, link, exported.as_ref()).await;
        report.add(
            format!("{name}: a request goes through the gateway at {address}"),
            outcome(went, alive == Outcome::Success, &name),
        );
    }
}

async fn located(link: &Link) -> anyhow::Result<Located> {
    let located = locate(&link.spec, &Resolver::from_env()).await?;
    let located = located.context("the Link has no gatewayAddress")?;
    ensure!(
        !located.addresses.is_empty(),
        "no name of it resolves from here: {}",
        located.unresolved.join("; ")
    );
    Ok(located)
}

/// A name and port to ask the gateway for.
struct Target {
    name: String,
    port: u16,
}

/// An imported Service that says it speaks HTTP, so that a HEAD of `/` does no harm.
async fn exported(scene: &Scene<'_>, link: &Link) -> Option<Target> {
    let cluster = link.spec.target_cluster_name.clone();
    let cluster = cluster.filter(|name| !name.is_empty());
    let cluster = cluster.unwrap_or_else(|| link.name_any());
    let selector = format!("{}={cluster}", labels::MIRROR_CLUSTER_NAME);
    let api: Api<Service> = Api::all(scene.client.clone());
    let services = api.list(&ListParams::default().labels(&selector)).await;
    services.ok()?.iter().find_map(target)
}

fn target(service: &Service) -> Option<Target> {
    let fq = service.annotations().get(annotations::REMOTE_SVC_FQ_NAME)?;
    let ports = service.spec.as_ref()?.ports.as_deref()?;
    let port = ports.iter().find(|port| {
        let name = port.name.as_deref().unwrap_or_default();
        let speaks = port.app_protocol.as_deref();
        match speaks {
            Some(protocol) => protocol.eq_ignore_ascii_case("http"),
            None => name == "http" || name.starts_with("http-"),
        }
    })?;
    Some(Target {
        name: fq.clone(),
        port: u16::try_from(port.port).ok()?,
    })
}

/// Sends a request through `gateway`: for an imported Service that speaks HTTP, where there is one;
/// else for a name nobody exports, which the gateway must look up to refuse.
async fn through(
    scene: &Scene<'_>,
    workload: &Workload,
    gateway: &Gateway,
    link: &Link,
    exported: Option<&Target>,
) -> Result<(), Failure> {
    let ask = async |name: &str, port| {
        let to = (name, port);
        let answer = ask(&workload.store, gateway, Method::HEAD, to, scene.timeout).await;
        answer.map_err(Failure::Gateway)
    };
    if let Some(target) = exported {
        let answer = ask(&target.name, target.port).await?;
        return served(&target.name, answer.status, answer.proxy_error.as_deref());
    }
    let domain = link.spec.target_cluster_domain.as_deref();
    let domain = domain.unwrap_or(names::DEFAULT_CLUSTER_DOMAIN);
    let nobody = format!("mesh-check.{}.svc.{domain}", scene.namespace);
    let status = ask(&nobody, 80).await?.status;
    if status != StatusCode::NOT_FOUND {
        return Err(Failure::Gateway(anyhow::anyhow!(
            "asked for {nobody}, which nobody exports, it answered {status} instead of 404"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_says_it_speaks_http_is_asked() {
        let service = |port: serde_json::Value| -> Service {
            serde_json::from_value(json!({
                "metadata": {"annotations": {
                    "mirror.linkerd.io/remote-svc-fq-name": "web.default.svc.cluster.local"}},
                "spec": {"ports": [port]},
            }))
            .unwrap()
        };
        for port in [
            json!({"port": 80, "name": "http"}),
            json!({"port": 80, "name": "http-admin"}),
            json!({"port": 80, "name": "web", "appProtocol": "HTTP"}),
        ] {
            assert!(target(&service(port)).is_some());
        }
        for port in [
            json!({"port": 6379, "name": "redis"}),
            json!({"port": 80}),
            json!({"port": 80, "name": "http", "appProtocol": "redis"}),
        ] {
            assert!(target(&service(port)).is_none());
        }
    }
}
