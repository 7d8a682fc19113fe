//! `--pre`: whether a control plane can be installed.

use super::Scene;
use crate::{
    checks::{Outcome, Report},
    cluster::explain,
    install::survey,
};
use anyhow::bail;
use k8s_openapi::api::{
    apps::v1::Deployment,
    authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec},
    core::v1::ConfigMap,
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ListParams, PostParams},
};
use mesh_contract::{labels, names};

const CATEGORY: &str = "pre-installation";

/// What an installation creates.
const CREATED: &[(&str, &str, bool)] = &[
    ("", "namespaces", false),
    ("apiextensions.k8s.io", "customresourcedefinitions", false),
    ("rbac.authorization.k8s.io", "clusterroles", false),
    ("rbac.authorization.k8s.io", "clusterrolebindings", false),
    (
        "admissionregistration.k8s.io",
        "mutatingwebhookconfigurations",
        false,
    ),
    (
        "admissionregistration.k8s.io",
        "validatingwebhookconfigurations",
        false,
    ),
    ("rbac.authorization.k8s.io", "roles", true),
    ("rbac.authorization.k8s.io", "rolebindings", true),
    ("", "serviceaccounts", true),
    ("", "services", true),
    ("", "configmaps", true),
    ("", "secrets", true),
    ("apps", "deployments", true),
    ("policy", "poddisruptionbudgets", true),
];

pub(super) async fn check(scene: &Scene<'_>, report: &mut Report) {
    report.section(CATEGORY);
    let namespace = scene.control_plane_ns;
    report.require(
        format!("the namespace {namespace} has no control plane yet"),
        vacant(&scene.client, namespace).await,
        "to change an installed control plane use mesh upgrade; to begin anew, mesh uninstall \
         first; to install beside it choose another namespace with --linkerd-namespace",
    );
    report.require(
        "no other mesh has the names of our resources",
        alone(&scene.client, namespace).await,
        survey::REMEDY,
    );
    for (group, resource, namespaced) in CREATED {
        let namespace = namespaced.then_some(namespace);
        report.require(
            format!("{resource} can be created"),
            can_create(&scene.client, group, resource, namespace).await,
            "install as a user who may, such as one bound to the ClusterRole cluster-admin",
        );
    }
    if report.failed(CATEGORY) {
        return;
    }
    report.add(
        "a control plane can be installed: mesh install | kubectl apply -f -",
        Outcome::Success,
    );
}

/// The namespace may be there: whoever brings the issuer (`--identity-external-issuer`) puts its
/// Secret there first.
async fn vacant(client: &Client, namespace: &str) -> anyhow::Result<()> {
    let config: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let config = config.get_opt(names::CONFIG).await;
    let config = config.map_err(|e| explain(e, &format!("cannot look for {}", names::CONFIG)))?;
    if config.is_some() {
        bail!("it has the ConfigMap {}", names::CONFIG);
    }
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let components = ListParams::default().labels(labels::CONTROL_PLANE_COMPONENT);
    let components = deployments.list(&components).await;
    let components = components.map_err(|e| explain(e, "cannot list its Deployments"))?;
    if let Some(component) = components.iter().next() {
        bail!("it has the Deployment {}", component.name_any());
    }
    Ok(())
}

async fn alone(client: &Client, namespace: &str) -> anyhow::Result<()> {
    let foreign = survey::foreign(client, namespace).await?;
    if !foreign.is_empty() {
        bail!("Linkerd made {}", foreign.join(", "));
    }
    Ok(())
}

async fn can_create(
    client: &Client,
    group: &str,
    resource: &str,
    namespace: Option<&str>,
) -> anyhow::Result<()> {
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                group: Some(group.to_owned()),
                resource: Some(resource.to_owned()),
                verb: Some("create".to_owned()),
                namespace: namespace.map(str::to_owned),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let review = api.create(&PostParams::default(), &review).await;
    let review = review.map_err(|e| explain(e, "cannot ask what this user may do"))?;
    let status = review.status.unwrap_or_default();
    if !status.allowed {
        let reason = status.reason.filter(|reason| !reason.is_empty());
        bail!(
            "{}",
            reason.unwrap_or_else(|| "this user may not".to_owned())
        );
    }
    Ok(())
}
