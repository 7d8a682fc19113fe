//! `mesh multicluster unlink`: prints what a link is made of, for `kubectl delete -f -`.

use super::{link::cluster_name, name};
use crate::{
    cluster::{ClusterArgs, explain},
    output::{self, ManifestFormat},
};
use anyhow::bail;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Secret};
use kube::{Api, Client, ResourceExt as _, api::ListParams};
use mesh_api::link::Link;
use mesh_contract::{labels, names};
use serde_json::{Value, json};

/// Flags of `mesh multicluster unlink`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the linked cluster
    #[arg(long, value_name = "NAME", value_parser = cluster_name)]
    cluster_name: String,

    /// Namespace of the multicluster extension
    #[arg(long, default_value = names::MULTICLUSTER_NS, value_parser = name)]
    namespace: String,

    #[arg(long, hide = true)]
    only_controller: bool,

    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: ManifestFormat,
}

/// Runs the command. The mirrors need no mention: the service mirror removes what it made for a
/// Link, and only then is the Link gone.
pub(crate) async fn run(args: Args, cluster: &ClusterArgs) -> anyhow::Result<()> {
    if args.only_controller {
        bail!(
            "--only-controller: no link has a controller of its own here; one service mirror \
             serves them all (mesh multicluster uninstall)"
        );
    }
    let client = cluster.client().await?;
    let api: Api<Link> = Api::namespaced(client.clone(), &args.namespace);
    let what = format!("cannot read the Links of {}", args.namespace);
    let links = api
        .list(&ListParams::default())
        .await
        .map_err(|error| explain(error, &what))?
        .items;
    let Some(link) = links.iter().find(|l| l.name_any() == args.cluster_name) else {
        bail!(
            "there is no Link {}/{}; linked clusters: {}",
            args.namespace,
            args.cluster_name,
            known(&links)
        );
    };
    if link.finalizers().iter().any(|f| f == names::LINK_FINALIZER)
        && !mirror_runs(&client, &args.namespace).await
    {
        eprintln!(
            "mesh: the service mirror does not run, so the Link will wait for it before it goes: \
             kubectl -n {} get deployment {}",
            args.namespace,
            names::SERVICE_MIRROR
        );
    }
    let mut documents = vec![object(
        "multicluster.linkerd.io/v1alpha3",
        "Link",
        &args.namespace,
        &args.cluster_name,
    )];
    documents.extend(secrets(&client, &args, link, &links, &cluster.control_plane_ns).await?);
    output::manifests(&documents, args.output)
}

fn known(links: &[Link]) -> String {
    let known: Vec<_> = links.iter().map(|link| link.name_any()).collect();
    match known.as_slice() {
        [] => "none".to_owned(),
        known => known.join(", "),
    }
}

/// The credentials, unless another Link uses them; also the copy that other releases keep in the
/// control plane's namespace.
async fn secrets(
    client: &Client,
    args: &Args,
    link: &Link,
    links: &[Link],
    control_plane_ns: &str,
) -> anyhow::Result<Vec<Value>> {
    let mut out = Vec::new();
    let of = |link: &Link| link.spec.cluster_credentials_secret.clone();
    let named = of(link).filter(|name| !name.is_empty());
    let own = named
        .unwrap_or_else(|| format!("{}{}", names::CREDENTIALS_SECRET_PREFIX, args.cluster_name));
    let others = links
        .iter()
        .filter(|other| other.name_any() != args.cluster_name);
    if !others
        .clone()
        .any(|other| of(other).as_deref() == Some(&own))
    {
        out.push(object("v1", "Secret", &args.namespace, &own));
    }
    if control_plane_ns != args.namespace {
        let api: Api<Secret> = Api::namespaced(client.clone(), control_plane_ns);
        let selector = format!("{}={}", labels::SECRET_CLUSTER_NAME, args.cluster_name);
        let copies = api.list(&ListParams::default().labels(&selector)).await;
        let what = format!("cannot look for credentials in {control_plane_ns}");
        let copies = copies.map_err(|error| explain(error, &what))?;
        let copies = copies
            .iter()
            .filter(|copy| copy.type_.as_deref() == Some(names::CREDENTIALS_SECRET_TYPE))
            .map(|copy| object("v1", "Secret", control_plane_ns, &copy.name_any()));
        out.extend(copies);
    }
    Ok(out)
}

/// Whether somebody is there to clean up; where that cannot be told, nothing is said.
async fn mirror_runs(client: &Client, namespace: &str) -> bool {
    let api: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    match api.get_opt(names::SERVICE_MIRROR).await {
        Ok(None) => false,
        Ok(Some(deployment)) => {
            let available = deployment.status.and_then(|s| s.available_replicas);
            available.is_some_and(|available| available > 0)
        }
        Err(_) => true,
    }
}

fn object(api_version: &str, kind: &str, namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": api_version,
        "kind": kind,
        "metadata": { "name": name, "namespace": namespace },
    })
}
