//! `mesh multicluster uninstall`: prints what the extension is made of, for `kubectl delete -f -`.

use crate::{
    cluster::{ClusterArgs, explain},
    output::{self, ManifestFormat},
};
use anyhow::{Context as _, bail};
use k8s_openapi::{
    api::{
        core::v1::{Namespace, Service},
        discovery::v1::EndpointSlice,
        rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, CustomResourceExt as _, Resource, ResourceExt as _, api::ListParams,
    core::NamespaceResourceScope,
};
use mesh_api::link::Link;
use mesh_contract::{labels, names};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt::Debug;

/// Flags of `mesh multicluster uninstall`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: ManifestFormat,
}

/// Runs the command.
pub(crate) async fn run(args: Args, cluster: &ClusterArgs) -> anyhow::Result<()> {
    let client = cluster.client().await?;
    let linked = linked(&client).await?;
    if !linked.is_empty() {
        let first = linked[0].split('/').next_back().unwrap_or_default();
        bail!(
            "clusters are linked still: {}. Unlink each first, so that what was mirrored from it \
             goes: mesh multicluster unlink --cluster-name {first} | kubectl delete -f -",
            linked.join(", ")
        );
    }
    let documents = documents(&client, &cluster.control_plane_ns).await?;
    if documents.is_empty() {
        bail!("the multicluster extension is not installed here: nothing carries its label");
    }
    output::manifests(&documents, args.output)
}

/// The Links there are; none where the kind is not known.
async fn linked(client: &Client) -> anyhow::Result<Vec<String>> {
    match Api::<Link>::all(client.clone())
        .list(&ListParams::default())
        .await
    {
        Ok(links) => Ok(links
            .iter()
            .map(|link| {
                format!(
                    "{}/{}",
                    link.namespace().unwrap_or_default(),
                    link.name_any()
                )
            })
            .collect()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Vec::new()),
        Err(error) => Err(explain(error, "cannot tell whether clusters are linked")),
    }
}

/// First the rights, so that nothing is made anew meanwhile; then what was mirrored; then the rest.
async fn documents(client: &Client, control_plane_ns: &str) -> anyhow::Result<Vec<Value>> {
    let ours = format!("{}=multicluster", labels::EXTENSION);
    let mut out = Vec::new();
    out.extend(cluster_wide::<ClusterRoleBinding>(client, &ours).await?);
    out.extend(cluster_wide::<ClusterRole>(client, &ours).await?);
    out.extend(namespaced::<RoleBinding>(client, Some(control_plane_ns), &ours).await?);
    out.extend(namespaced::<Role>(client, Some(control_plane_ns), &ours).await?);
    let slices = format!("{}={}", labels::SLICE_MANAGED_BY, names::SLICE_MANAGER);
    out.extend(namespaced::<EndpointSlice>(client, None, &slices).await?);
    out.extend(mirrors(client).await?);
    out.extend(cluster_wide::<Namespace>(client, &ours).await?);
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let name = Link::crd_name();
    let found = definitions.get_opt(name).await;
    if found
        .map_err(|e| explain(e, "cannot look for the Link CRD"))?
        .is_some()
    {
        out.push(reference::<CustomResourceDefinition>(None, name));
    }
    Ok(out)
}

/// The Services that the mirror would remove itself.
async fn mirrors(client: &Client) -> anyhow::Result<Vec<Value>> {
    let labelled = format!("{}=true", labels::MIRRORED_SERVICE);
    let services = objects(Api::<Service>::all(client.clone()), &labelled).await?;
    let ours = services
        .iter()
        .filter(|service| mesh_mirror::plan::is_ours(service));
    Ok(ours.map(reference_to).collect())
}

async fn cluster_wide<K>(client: &Client, selector: &str) -> anyhow::Result<Vec<Value>>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    list(Api::<K>::all(client.clone()), selector).await
}

/// In `namespace`, or in all.
async fn namespaced<K>(
    client: &Client,
    namespace: Option<&str>,
    selector: &str,
) -> anyhow::Result<Vec<Value>>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned,
{
    let api: Api<K> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    list(api, selector).await
}

async fn list<K>(api: Api<K>, selector: &str) -> anyhow::Result<Vec<Value>>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let objects = objects(api, selector).await?;
    Ok(objects.iter().map(reference_to).collect())
}

async fn objects<K>(api: Api<K>, selector: &str) -> anyhow::Result<Vec<K>>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let objects = api.list(&ListParams::default().labels(selector)).await;
    let objects = objects
        .map_err(|e| explain(e, &format!("cannot list {}", K::plural(&()))))
        .context("cannot tell what the extension is made of")?;
    Ok(objects.items)
}

fn reference_to<K: Resource<DynamicType = ()>>(object: &K) -> Value {
    reference::<K>(object.namespace().as_deref(), &object.name_any())
}

fn reference<K: Resource<DynamicType = ()>>(namespace: Option<&str>, name: &str) -> Value {
    let mut metadata = json!({ "name": name });
    if let Some(namespace) = namespace {
        metadata["namespace"] = json!(namespace);
    }
    json!({ "apiVersion": K::api_version(&()), "kind": K::kind(&()), "metadata": metadata })
}
