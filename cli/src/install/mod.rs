//! `mesh install`: prints the manifests of the control plane for `kubectl apply -f -`.

pub(crate) mod certificates;
pub(crate) mod control_plane;
pub(crate) mod rbac;
pub(crate) mod values;
pub(crate) mod workload;

use self::{
    certificates::CertificateArgs,
    values::{Values, ValuesArgs},
};
use crate::{
    cluster::ClusterArgs,
    output::{self, ManifestFormat},
};
use serde_json::Value;

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
        return output::manifests(&crds()?, args.output);
    }
    let mut values = Values::load(&args.values)?;
    args.certificates.apply(&mut values)?;
    if !args.ignore_cluster {
        refuse_second_installation(cluster).await?;
    }
    output::manifests(&manifests(&values, &cluster.control_plane_ns)?, args.output)
}

/// CRDs and control plane.
pub(crate) fn manifests(values: &Values, namespace: &str) -> anyhow::Result<Vec<Value>> {
    let mut documents = crds()?;
    documents.extend(control_plane::render(values, namespace)?);
    Ok(documents)
}

/// The policy resources that are enforced; the Link CRD comes with `mesh multicluster install`.
fn crds() -> anyhow::Result<Vec<Value>> {
    mesh_api::policy::crds()
        .into_iter()
        .map(|crd| Ok(serde_json::to_value(crd)?))
        .collect()
}

/// A new trust anchor over an old one would cut off every running sidecar.
async fn refuse_second_installation(cluster: &ClusterArgs) -> anyhow::Result<()> {
    use k8s_openapi::api::core::v1::ConfigMap;
    let Ok(client) = cluster.client().await else {
        return Ok(());
    };
    let namespace = &cluster.control_plane_ns;
    let api: kube::Api<ConfigMap> = kube::Api::namespaced(client, namespace);
    if let Ok(Some(_)) = api.get_opt(mesh_contract::names::CONFIG).await {
        anyhow::bail!(
            "a control plane is installed already: the ConfigMap {namespace}/{} exists. \
             Installing again with a new issuer would cut off running sidecars. \
             To print the manifests all the same, add --ignore-cluster",
            mesh_contract::names::CONFIG
        );
    }
    Ok(())
}

/// `linkerd.io/created-by` of everything printed.
pub(crate) fn created_by() -> String {
    format!("mesh/cli {}", env!("CARGO_PKG_VERSION"))
}
