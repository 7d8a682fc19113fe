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
use std::time::{Duration, Instant};

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

    /// Node port at which a load balancer asks whether a node has a gateway; 0 is none
    #[arg(
        long,
        value_name = "PORT",
        default_value_t = 0,
        hide_default_value = true
    )]
    gateway_healthcheck_nodeport: u16,

    /// Run several gateways and service mirrors, apart from each other
    #[arg(long)]
    ha: bool,

    /// Mirror headless Services of linked clusters as such, with a Service for each endpoint that has
    /// a name
    #[arg(long)]
    enable_headless_services: bool,

    /// Let other clusters' mirrors read Pods here, which they need for Services that are exported pod
    /// to pod
    #[arg(long)]
    remote_discovery: bool,

    /// How long to wait for the control plane to be installed
    #[arg(long, default_value = "0s", value_name = "TIME", value_parser = super::duration)]
    wait: Duration,

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
    let values = control_plane(&args, cluster).await?;
    let documents = manifests(&args, &values, &cluster.control_plane_ns)?;
    output::manifests(&documents, args.output)
}

/// What the control plane was installed with.
async fn control_plane(args: &Args, cluster: &ClusterArgs) -> anyhow::Result<Values> {
    let client = cluster.client().await?;
    let deadline = Instant::now() + args.wait;
    loop {
        match installation::values(&client, &cluster.control_plane_ns).await {
            Ok(values) => return Ok(values),
            Err(error) if Instant::now() >= deadline => {
                return Err(error)
                    .context("mesh multicluster install adds to an installed control plane");
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(500)).await,
        }
    }
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
        ha: args.ha,
        gateway_healthcheck_nodeport: args.gateway_healthcheck_nodeport,
    };
    let mut documents = multicluster::manifests(&options, values, control_plane_ns)?;
    if args.remote_discovery {
        super::let_read_pods(&mut documents, names::REMOTE_ACCESS);
    }
    if args.enable_headless_services {
        mirror_headless(&mut documents);
    }
    Ok(documents)
}

/// Has the service mirror among `documents` mirror headless Services as such.
fn mirror_headless(documents: &mut [Value]) {
    let is_mirror = |document: &&mut Value| {
        document["kind"] == "Deployment" && document["metadata"]["name"] == names::SERVICE_MIRROR
    };
    for deployment in documents.iter_mut().filter(is_mirror) {
        let args = deployment.pointer_mut("/spec/template/spec/containers/0/args");
        if let Some(args) = args.and_then(Value::as_array_mut) {
            args.push("--enable-headless-services".into());
        }
    }
}
