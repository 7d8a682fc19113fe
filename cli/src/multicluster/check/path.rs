//! The gateway: what the service mirror's probes say, and a request sent through every address of it.

use super::Scene;
use crate::{
    checks::{Outcome, Report},
    gateway::{Gateway, ask},
    workload::Workload,
};
use anyhow::{Context as _, bail, ensure};
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
    probed(scene, report, link);
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
        report.expect(
            format!("{name}: a request goes through the gateway at {address}"),
            through(scene, workload, &gateway, link, exported.as_ref()).await,
            format!(
                "if the service mirror's probes are answered, the way from here differs; else look \
                 at the gateway's log there: kubectl --context {name} -n {} logs deployment/{} -c {}",
                names::MULTICLUSTER_NS,
                names::GATEWAY,
                names::PROXY_CONTAINER
            ),
        );
    }
}

/// What the service mirror found.
fn probed(scene: &Scene<'_>, report: &mut Report, link: &Link) {
    let name = link.name_any();
    let gateway = link.status.as_ref().and_then(|s| s.gateway.as_ref());
    let outcome = match gateway.map(|gateway| gateway.alive.as_str()) {
        Some("True") => Outcome::Success,
        // The Link's condition tells why.
        Some("False") => return,
        _ => Outcome::Warning {
            cause: "the service mirror has not probed it yet, or the Link asks for no probes"
                .into(),
            remedy: format!(
                "wait for a probe; kubectl -n {} get link {name} -o yaml shows the last",
                scene.namespace
            ),
        },
    };
    report.add(
        format!("{name}: the gateway answers the service mirror's probes"),
        outcome,
    );
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
) -> anyhow::Result<()> {
    if let Some(target) = exported {
        let to = (target.name.as_str(), target.port);
        let answer = ask(&workload.store, gateway, Method::HEAD, to, scene.timeout).await?;
        if let Some(error) = answer.proxy_error {
            bail!(
                "asked for {}, it answered {}: {error}",
                target.name,
                answer.status
            );
        }
        return Ok(());
    }
    let domain = link.spec.target_cluster_domain.as_deref();
    let domain = domain.unwrap_or(names::DEFAULT_CLUSTER_DOMAIN);
    let nobody = format!("mesh-check.{}.svc.{domain}", scene.namespace);
    let to = (nobody.as_str(), 80);
    let answer = ask(&workload.store, gateway, Method::HEAD, to, scene.timeout).await?;
    ensure!(
        answer.status == StatusCode::NOT_FOUND,
        "asked for {nobody}, which nobody exports, it answered {} instead of 404",
        answer.status
    );
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
