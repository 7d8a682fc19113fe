//! `mesh multicluster allow`: prints one more account that another cluster reads this one with.

use super::name;
use crate::{
    cluster::{ClusterArgs, explain},
    output::{self, ManifestFormat},
};
use anyhow::bail;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use mesh_contract::{labels, names};
use serde_json::json;

/// Flags of `mesh multicluster allow`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the account
    #[arg(long, value_name = "NAME", value_parser = name)]
    service_account_name: String,

    /// Namespace of the multicluster extension
    #[arg(long, default_value = names::MULTICLUSTER_NS, value_parser = name)]
    namespace: String,

    /// Let it read Pods too, which a mirror needs for Services that are exported pod to pod
    #[arg(long)]
    remote_discovery: bool,

    /// Do not look at the cluster for an account of that name
    #[arg(long)]
    ignore_cluster: bool,

    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: ManifestFormat,
}

/// Runs the command.
pub(crate) async fn run(args: Args, cluster: &ClusterArgs) -> anyhow::Result<()> {
    let (namespace, account) = (&args.namespace, &args.service_account_name);
    if !args.ignore_cluster {
        let api: Api<ServiceAccount> = Api::namespaced(cluster.client().await?, namespace);
        let what = format!("cannot look for the ServiceAccount {namespace}/{account}");
        let found = api.get_opt(account).await.map_err(|e| explain(e, &what))?;
        if found.is_some() {
            bail!(
                "the ServiceAccount {namespace}/{account} exists already: link with \
                 --service-account-name {account}, or choose another name. To print the manifests \
                 all the same, add --ignore-cluster"
            );
        }
    }
    let mut documents = vec![json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": { "name": namespace, "labels": { labels::EXTENSION: "multicluster" } },
    })];
    documents.extend(mesh_install::multicluster::remote_access(
        account,
        namespace,
        &cluster.control_plane_ns,
        args.remote_discovery,
    )?);
    output::manifests(&documents, args.output)
}
