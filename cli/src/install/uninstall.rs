//! `mesh uninstall`: prints what the control plane is made of, for `kubectl delete -f -`.

use crate::{
    cluster::{ClusterArgs, explain},
    output::{self, ManifestFormat},
};
use anyhow::{Context as _, bail};
use k8s_openapi::{
    api::{
        admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
        core::v1::{Namespace, Pod},
        rbac::v1::{ClusterRole, ClusterRoleBinding},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{Api, Client, Resource, ResourceExt as _, api::ListParams};
use mesh_contract::{labels, names};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::{collections::BTreeSet, fmt::Debug};

/// Print what the control plane is made of, for `kubectl delete -f -`
///
/// Refuses while pods still have sidecars, which could not renew their certificates, and while the
/// multicluster extension is installed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print it although sidecars or extensions are still there
    #[arg(long, short = 'F')]
    force: bool,

    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: ManifestFormat,
}

/// Runs the command.
pub(crate) async fn run(args: Args, cluster: &ClusterArgs) -> anyhow::Result<()> {
    let client = cluster.client().await?;
    let namespace = &cluster.control_plane_ns;
    if !args.force {
        refuse_while_used(&client, namespace).await?;
    }
    let documents = documents(&client, namespace).await?;
    if documents.is_empty() {
        bail!("no control plane of ours is installed in {namespace}: nothing carries its labels");
    }
    output::manifests(&documents, args.output)
}

async fn refuse_while_used(client: &Client, namespace: &str) -> anyhow::Result<()> {
    let extensions: Api<Namespace> = Api::all(client.clone());
    let labelled = ListParams::default().labels(labels::EXTENSION);
    let extensions = extensions.list(&labelled).await;
    let extensions = extensions.map_err(|e| explain(e, "cannot list namespaces"))?;
    if let Some(extension) = extensions.iter().next() {
        bail!(
            "the extension in {} is still installed: remove it first (mesh multicluster uninstall \
             | kubectl delete -f -), or add --force",
            extension.name_any()
        );
    }
    let pods: Api<Pod> = Api::all(client.clone());
    let injected = format!("{}={namespace}", labels::CONTROL_PLANE_NS);
    let pods = pods.list(&ListParams::default().labels(&injected)).await;
    let pods = pods.map_err(|e| explain(e, "cannot list pods"))?;
    let meshed: BTreeSet<_> = pods
        .iter()
        .filter(|pod| has_sidecar(pod))
        .map(place)
        .collect();
    if !meshed.is_empty() {
        let count = meshed.len();
        let some: Vec<_> = meshed.into_iter().take(5).collect();
        bail!(
            "{count} namespaces or workloads still have sidecars, among them {}: uninject them \
             first (linkerd.io/inject: disabled, or mesh uninject, and a restart), or add --force",
            some.join(", ")
        );
    }
    Ok(())
}

fn has_sidecar(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else {
        return false;
    };
    let all = spec.containers.iter();
    let all = all.chain(spec.init_containers.iter().flatten());
    let mut names = all.map(|container| container.name.as_str());
    names.any(|name| name == names::PROXY_CONTAINER)
}

/// `namespace/workload` by the owner label, else by the pod's name.
fn place(pod: &Pod) -> String {
    let owner = pod.labels().iter().find_map(|(key, name)| {
        let kind = key.strip_prefix(labels::PROXY_OWNER_PREFIX)?;
        Some(format!("{kind}/{name}"))
    });
    let owner = owner.unwrap_or_else(|| format!("pod/{}", pod.name_any()));
    format!("{}/{owner}", pod.namespace().unwrap_or_default())
}

/// Webhooks first, so that nobody waits for them; the definitions before what serves them.
async fn documents(client: &Client, namespace: &str) -> anyhow::Result<Vec<Value>> {
    let ours = format!(
        "{}={namespace},app.kubernetes.io/part-of=mesh",
        labels::CONTROL_PLANE_NS
    );
    let mut out = Vec::new();
    out.extend(list::<MutatingWebhookConfiguration>(client, &ours).await?);
    out.extend(list::<ValidatingWebhookConfiguration>(client, &ours).await?);
    out.extend(list::<ClusterRoleBinding>(client, &ours).await?);
    out.extend(list::<ClusterRole>(client, &ours).await?);
    out.extend(list::<CustomResourceDefinition>(client, &ours).await?);
    if !out.is_empty() {
        out.push(reference::<Namespace>(namespace));
    }
    Ok(out)
}

async fn list<K>(client: &Client, selector: &str) -> anyhow::Result<Vec<Value>>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let api: Api<K> = Api::all(client.clone());
    let objects = match api.list(&ListParams::default().labels(selector)).await {
        Ok(objects) => objects.items,
        Err(kube::Error::Api(status)) if status.code == 404 => Vec::new(),
        Err(error) => {
            let what = format!("cannot list {}", K::plural(&()));
            return Err(explain(error, &what)).context("cannot tell what is installed");
        }
    };
    let names = objects.iter().map(|object| object.name_any());
    Ok(names.map(|name| reference::<K>(&name)).collect())
}

fn reference<K: Resource<DynamicType = ()>>(name: &str) -> Value {
    json!({ "apiVersion": K::api_version(&()), "kind": K::kind(&()), "metadata": { "name": name } })
}
