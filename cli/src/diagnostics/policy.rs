//! `mesh diagnostics policy`: asks `OutboundPolicies.Get` or `InboundServerPolicies.GetPort`.

use super::AsWorkload;
use crate::cluster::{ClusterArgs, explain};
use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use linkerd2_proxy_api::{
    inbound::{PortSpec, inbound_server_policies_client::InboundServerPoliciesClient},
    outbound::{TrafficSpec, outbound_policies_client::OutboundPoliciesClient, traffic_spec},
};
use mesh_contract::{names, ports};

/// Flags of `mesh diagnostics policy`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// svc/NAME for what clients are told, po/NAME for what a server is told
    #[arg(value_name = "RESOURCE/NAME")]
    resource: String,

    /// Port of the Service or pod
    port: u16,

    /// Namespace of the resource
    #[arg(short, long, default_value = "default")]
    namespace: String,

    #[command(flatten)]
    workload: AsWorkload,
}

/// Runs the command.
pub(crate) async fn run(args: Args, cluster: &ClusterArgs) -> anyhow::Result<()> {
    let Some((kind, name)) = args.resource.split_once('/') else {
        bail!("{}: expected svc/NAME or po/NAME", args.resource);
    };
    let workload = args.workload.certify(cluster).await?;
    let channel = workload.destination(names::POLICY, ports::POLICY)?;
    let answer = match kind {
        "svc" | "service" | "services" => outbound(&args, name, cluster, channel).await?,
        "po" | "pod" | "pods" => inbound(&args, name, channel).await?,
        _ => bail!("{kind}: policies are known for svc and po"),
    };
    println!("{answer}");
    Ok(())
}

async fn outbound(
    args: &Args,
    name: &str,
    cluster: &ClusterArgs,
    channel: tonic::transport::Channel,
) -> anyhow::Result<String> {
    let api: Api<Service> = Api::namespaced(cluster.client().await?, &args.namespace);
    let service = api.get(name).await.map_err(|e| {
        explain(
            e,
            &format!("cannot read the Service {}/{name}", args.namespace),
        )
    })?;
    let ip = service
        .spec
        .and_then(|spec| spec.cluster_ip)
        .filter(|ip| ip != "None");
    let ip: std::net::IpAddr = ip
        .with_context(|| format!("the Service {}/{name} has no cluster IP", args.namespace))?
        .parse()?;
    let spec = TrafficSpec {
        source_workload: workload_of(args, "-"),
        target: Some(traffic_spec::Target::Addr(
            std::net::SocketAddr::new(ip, args.port).into(),
        )),
    };
    let policy = OutboundPoliciesClient::new(channel)
        .get(spec)
        .await
        .map_err(refused)?;
    Ok(format!("{:#?}", policy.into_inner()))
}

async fn inbound(
    args: &Args,
    name: &str,
    channel: tonic::transport::Channel,
) -> anyhow::Result<String> {
    let spec = PortSpec {
        workload: workload_of(args, name),
        port: u32::from(args.port),
    };
    let policy = InboundServerPoliciesClient::new(channel)
        .get_port(spec)
        .await
        .map_err(refused)?;
    Ok(format!("{:#?}", policy.into_inner()))
}

fn workload_of(args: &Args, pod: &str) -> String {
    serde_json::json!({ "ns": args.namespace, "pod": pod }).to_string()
}

fn refused(status: tonic::Status) -> anyhow::Error {
    anyhow::anyhow!(
        "the control plane answered {}: {}",
        status.code(),
        status.message()
    )
}
