//! `mesh multicluster install`: prints the gateway, the service mirror, and the access of peers.

use crate::{
    cluster::ClusterArgs,
    installation,
    output::{self, ManifestFormat},
};
use anyhow::Context as _;
use mesh_contract::{names, ports};
use mesh_install::{multicluster, values::Values};
use serde_json::Value;

/// Flags of `mesh multicluster install`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Install the gateway, so that other clusters can reach services of this one
    #[arg(long, default_value_t = true, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", action = clap::ArgAction::Set)]
    gateway: bool,

    /// Port of the gateway Service for traffic
    #[arg(long, default_value_t = ports::INBOUND)]
    gateway_port: u16,

    /// Port of the gateway Service for probes
    #[arg(long, default_value_t = ports::ADMIN)]
    gateway_probe_port: u16,

    /// Seconds between probes that importing clusters are asked to keep
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    gateway_probe_seconds: u32,

    /// Type of the gateway Service: LoadBalancer, NodePort or ClusterIP
    #[arg(long, default_value = "LoadBalancer", value_parser = ["LoadBalancer", "NodePort", "ClusterIP"])]
    gateway_service_type: String,

    /// Create the account and token another cluster's mirror reads this cluster with
    #[arg(long, default_value_t = true, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", action = clap::ArgAction::Set)]
    service_mirror_credentials: bool,

    /// Namespace of the extension
    #[arg(long, default_value = names::MULTICLUSTER_NS, value_parser = super::name)]
    namespace: String,

    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: ManifestFormat,
}

/// Runs the command.
pub(crate) async fn run(args: Args, cluster: &ClusterArgs) -> anyhow::Result<()> {
    let values = installation::values(&cluster.client().await?, &cluster.control_plane_ns)
        .await
        .context("mesh multicluster install adds to an installed control plane")?;
    let documents = manifests(&args, &values, &cluster.control_plane_ns)?;
    output::manifests(&documents, args.output)
}

/// Everything of the extension, in the order it must be applied.
pub(crate) fn manifests(
    args: &Args,
    values: &Values,
    control_plane_ns: &str,
) -> anyhow::Result<Vec<Value>> {
    let options = multicluster::Options {
        namespace: args.namespace.clone(),
        gateway: args.gateway,
        gateway_port: args.gateway_port,
        gateway_probe_port: args.gateway_probe_port,
        gateway_probe_seconds: args.gateway_probe_seconds,
        gateway_service_type: args.gateway_service_type.clone(),
        service_mirror_credentials: args.service_mirror_credentials,
        ha: false,
        gateway_healthcheck_nodeport: 0,
    };
    multicluster::manifests(&options, values, control_plane_ns)
}
