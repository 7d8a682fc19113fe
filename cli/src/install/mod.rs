//! `mesh install`: prints the manifests of the control plane for `kubectl apply -f -`.

pub(crate) mod certificates;

use self::certificates::CertificateArgs;
use crate::{
    cluster::{ClusterArgs, explain},
    output::{self, ManifestFormat},
};
use anyhow::Context as _;
use mesh_contract::names;
use mesh_install::values::{Values, ValuesArgs};

/// Print the manifests that install the control plane
///
/// Apply them with `mesh install | kubectl apply -f -`. Without certificate files a trust anchor
/// and an issuer are made, valid for one year; clusters that are to be linked need the same trust
/// anchor, so give them `--identity-trust-anchors-file` and an issuer each.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print the CRDs only
    #[arg(long)]
    crds: bool,

    #[command(flatten)]
    certificates: CertificateArgs,

    #[command(flatten)]
    values: ValuesArgs,

    /// Do not look at the cluster for an existing installation
    #[arg(long)]
    ignore_cluster: bool,

    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: ManifestFormat,
}

/// Runs the command.
pub(crate) async fn run(args: Args, cluster: &ClusterArgs) -> anyhow::Result<()> {
    if args.crds {
        return output::manifests(&mesh_install::crds()?, args.output);
    }
    let mut values = Values::load(&args.values)?;
    args.certificates.apply(&mut values)?;
    if !args.ignore_cluster {
        refuse_second_installation(cluster).await?;
    }
    output::manifests(
        &mesh_install::manifests(&values, &cluster.control_plane_ns)?,
        args.output,
    )
}

/// A new trust anchor over an old one would cut off every running sidecar. Where a cluster is
/// meant, not knowing is no reason to go on; without a kubeconfig none is.
async fn refuse_second_installation(cluster: &ClusterArgs) -> anyhow::Result<()> {
    use k8s_openapi::api::core::v1::ConfigMap;
    if !cluster.is_meant() {
        return Ok(());
    }
    let go_on = "cannot tell whether a control plane is installed already; to print the manifests \
                 all the same, add --ignore-cluster";
    let namespace = &cluster.control_plane_ns;
    let client = cluster.client().await.context(go_on)?;
    let api: kube::Api<ConfigMap> = kube::Api::namespaced(client, namespace);
    let what = format!("cannot read the ConfigMap {namespace}/{}", names::CONFIG);
    let installed = api.get_opt(names::CONFIG).await;
    if installed
        .map_err(|error| explain(error, &what))
        .context(go_on)?
        .is_some()
    {
        anyhow::bail!(
            "a control plane is installed already: the ConfigMap {namespace}/{} exists. \
             Installing again with a new issuer would cut off running sidecars. \
             To print the manifests all the same, add --ignore-cluster",
            names::CONFIG
        );
    }
    Ok(())
}
