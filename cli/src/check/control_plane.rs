//! That the control plane is installed, of this version, and running.

use super::Scene;
use crate::{
    checks::Report,
    cluster::explain,
    installation,
    retry::{Trouble, retried},
};
use anyhow::{Context as _, bail};
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{Pod, Service},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{Api, Client, ResourceExt as _, api::ListParams};
use mesh_contract::{labels, names};
use mesh_install::values::Values;
use std::time::Duration;

pub(super) const CATEGORY: &str = "control-plane-existence";

pub(super) async fn check(scene: &Scene<'_>, report: &mut Report) -> Option<Values> {
    report.section(CATEGORY);
    let namespace = scene.control_plane_ns;
    let values = report.require(
        "a control plane is installed, and its configuration can be read",
        installation::values(&scene.client, namespace).await,
        "install one: mesh install | kubectl apply -f -",
    )?;
    for crd in mesh_install::crds(namespace).unwrap_or_default() {
        let name = crd["metadata"]["name"].as_str().unwrap_or_default();
        report.require(
            format!("the CRD {name} is served"),
            served(&scene.client, &crd, name).await,
            "apply the CRDs: mesh install --crds | kubectl apply -f -",
        );
    }
    for name in components(&values) {
        report.require(
            format!("{name} is running"),
            running(&scene.client, namespace, name, scene.wait).await,
            format!(
                "look at its pods: kubectl -n {namespace} describe deploy/{name}, and kubectl -n \
                 {namespace} logs deploy/{name}"
            ),
        );
    }
    let webhooks = values.proxy_injector.enabled.then_some(names::INJECTOR);
    let always = [names::IDENTITY_HEADLESS, names::DST_HEADLESS, names::POLICY];
    for name in always.into_iter().chain(webhooks) {
        let services: Api<Service> = Api::namespaced(scene.client.clone(), namespace);
        let found = services.get(name).await.map(|_| ());
        report.require(
            format!("the Service {name} exists"),
            found.map_err(|e| explain(e, &format!("cannot read {namespace}/{name}"))),
            "apply the manifests again: mesh upgrade | kubectl apply -f -",
        );
    }
    report.section("control-plane-version");
    report.expect(
        "control plane and command are of one version",
        same_version(&values),
        "upgrade the older of the two: mesh upgrade | kubectl apply -f -",
    );
    report.expect(
        "all pods of the control plane are of one version",
        one_image(scene).await,
        "wait for the rollout, or restart what is left behind: kubectl rollout restart",
    );
    Some(values)
}

/// Every version that we print is served there.
async fn served(client: &Client, ours: &serde_json::Value, name: &str) -> anyhow::Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let crd = api.get(name).await;
    let crd = crd.map_err(|e| explain(e, &format!("cannot read {name}")))?;
    let theirs: Vec<_> = crd
        .spec
        .versions
        .iter()
        .filter(|version| version.served)
        .map(|version| version.name.as_str())
        .collect();
    let missing: Vec<_> = ours["spec"]["versions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|version| version["name"].as_str())
        .filter(|version| !theirs.contains(version))
        .collect();
    if !missing.is_empty() {
        bail!(
            "it lacks {}: it is older than this command",
            missing.join(", ")
        );
    }
    Ok(())
}

/// The Deployments that a control plane installed with `values` has.
pub(crate) fn components(values: &Values) -> impl Iterator<Item = &'static str> {
    let webhooks = values.proxy_injector.enabled.then_some(names::INJECTOR);
    let always = [names::IDENTITY, names::DESTINATION];
    always.into_iter().chain(webhooks)
}

/// As many pods of a component available as wanted; awaited for a while, as an installation takes
/// its time.
pub(crate) async fn running(
    client: &Client,
    namespace: &str,
    name: &str,
    wait: Duration,
) -> anyhow::Result<()> {
    let claim = async || {
        available(client, namespace, name)
            .await
            .map_err(Trouble::Now)
    };
    retried(wait, claim).await
}

async fn available(client: &Client, namespace: &str, name: &str) -> anyhow::Result<()> {
    let api: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let deployment = api.get(name).await;
    let deployment =
        deployment.map_err(|e| explain(e, &format!("cannot read {namespace}/{name}")))?;
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas);
    let wanted = wanted.unwrap_or(1);
    let status = deployment.status.unwrap_or_default();
    let available = status.available_replicas.unwrap_or(0);
    if available < 1 || available < wanted {
        let waiting = waiting(client, namespace, name).await.unwrap_or_default();
        bail!("{available} of {wanted} pods are available{waiting}");
    }
    Ok(())
}

/// Why pods of a component wait, in the words of their containers.
async fn waiting(client: &Client, namespace: &str, name: &str) -> anyhow::Result<String> {
    let component = name.strip_prefix("linkerd-").unwrap_or(name);
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let selector = format!("{}={component}", labels::CONTROL_PLANE_COMPONENT);
    let pods = api.list(&ListParams::default().labels(&selector)).await?;
    let reasons = pods.iter().filter_map(|pod| {
        let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
        let waiting = statuses.iter().find_map(|status| {
            let state = status.state.as_ref()?.waiting.as_ref()?;
            state.message.clone().or_else(|| state.reason.clone())
        });
        Some(format!("; {}: {}", pod.name_any(), waiting?))
    });
    Ok(reasons.collect())
}

fn same_version(values: &Values) -> anyhow::Result<()> {
    let ours = env!("CARGO_PKG_VERSION");
    if values.linkerd_version != ours {
        bail!(
            "the control plane is {}, and this is {ours}",
            values.linkerd_version
        );
    }
    Ok(())
}

async fn one_image(scene: &Scene<'_>) -> anyhow::Result<()> {
    let api: Api<Pod> = Api::namespaced(scene.client.clone(), scene.control_plane_ns);
    let selector = ListParams::default().labels(labels::CONTROL_PLANE_COMPONENT);
    let pods = api.list(&selector).await;
    let pods = pods.map_err(|e| explain(e, "cannot list its pods"))?;
    let images: std::collections::BTreeSet<_> = pods
        .iter()
        .filter_map(|pod| pod.spec.as_ref()?.containers.first()?.image.clone())
        .collect();
    if images.len() > 1 {
        let images: Vec<_> = images.into_iter().collect();
        bail!("there are {}", images.join(", "));
    }
    images.first().context("it has no pods")?;
    Ok(())
}
