//! `mesh multicluster unlink`: prints what a link is made of, for `kubectl delete -f -`.

use crate::{
    cluster::{ClusterArgs, explain},
    output::{self, ManifestFormat},
};
use kube::{Api, ResourceExt as _, api::ListParams};
use mesh_api::link::Link;
use mesh_contract::names;
use serde_json::json;

/// Flags of `mesh multicluster unlink`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the linked cluster
    #[arg(long, value_name = "NAME")]
    cluster_name: String,

    /// Namespace of the multicluster extension
    #[arg(long, default_value = names::MULTICLUSTER_NS)]
    namespace: String,

    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: ManifestFormat,
}

/// Runs the command. The mirrors need no mention: the service mirror removes what it made for a
/// Link once the Link is gone.
pub(crate) async fn run(args: Args, cluster: &ClusterArgs) -> anyhow::Result<()> {
    let api: Api<Link> = Api::namespaced(cluster.client().await?, &args.namespace);
    let what = format!("cannot read the Links of {}", args.namespace);
    let links = api
        .list(&ListParams::default())
        .await
        .map_err(|error| explain(error, &what))?;
    let Some(link) = links
        .iter()
        .find(|link| link.name_any() == args.cluster_name)
    else {
        let known: Vec<_> = links.iter().map(|link| link.name_any()).collect();
        anyhow::bail!(
            "there is no Link {}/{}; linked clusters: {}",
            args.namespace,
            args.cluster_name,
            if known.is_empty() {
                "none".to_owned()
            } else {
                known.join(", ")
            }
        );
    };
    let secret = link
        .spec
        .cluster_credentials_secret
        .clone()
        .unwrap_or_else(|| format!("{}{}", names::CREDENTIALS_SECRET_PREFIX, args.cluster_name));
    let object = |api_version: &str, kind: &str, name: &str| {
        json!({
            "apiVersion": api_version,
            "kind": kind,
            "metadata": { "name": name, "namespace": args.namespace },
        })
    };
    output::manifests(
        &[
            object(
                "multicluster.linkerd.io/v1alpha3",
                "Link",
                &args.cluster_name,
            ),
            object("v1", "Secret", &secret),
        ],
        args.output,
    )
}
