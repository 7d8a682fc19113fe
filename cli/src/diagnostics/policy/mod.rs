//! `mesh diagnostics policy`: asks `OutboundPolicies.Get` or `InboundServerPolicies.GetPort`.

mod inbound;
mod outbound;

use super::AsWorkload;
use crate::{
    cluster::{ClusterArgs, explain},
    output::{self, DataFormat},
};
use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use linkerd2_proxy_api::{
    inbound::{PortSpec, inbound_server_policies_client::InboundServerPoliciesClient},
    meta::{Metadata, metadata},
    outbound::{TrafficSpec, outbound_policies_client::OutboundPoliciesClient, traffic_spec},
};
use mesh_contract::{names, ports};
use std::{future::Future, time::Duration};

/// How long to wait for the answer.
const TIMEOUT: Duration = Duration::from_secs(10);

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

    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: DataFormat,
}

/// What a policy is about.
#[derive(Clone, Copy)]
enum About {
    Service,
    Pod,
}

/// Runs the command.
pub(crate) async fn run(args: Args, cluster: &ClusterArgs) -> anyhow::Result<()> {
    let about = args.resource.split_once('/').and_then(|(kind, name)| {
        let about = match kind {
            "svc" | "service" | "services" => About::Service,
            "po" | "pod" | "pods" => About::Pod,
            _ => return None,
        };
        (!name.is_empty()).then_some((about, name))
    });
    let Some((about, name)) = about else {
        bail!(
            "{}: expected svc/NAME (what clients are told) or po/NAME (what a server is told)",
            args.resource
        );
    };
    let workload = args.workload.certify(cluster).await?;
    let channel = workload.destination(names::POLICY, ports::POLICY)?;
    match about {
        About::Service => outbound(&args, name, cluster, channel).await,
        About::Pod => inbound(&args, name, channel).await,
    }
}

async fn outbound(
    args: &Args,
    name: &str,
    cluster: &ClusterArgs,
    channel: tonic::transport::Channel,
) -> anyhow::Result<()> {
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
    let mut client = OutboundPoliciesClient::new(channel);
    let policy = outbound::describe(answer(client.get(spec)).await?);
    output::data(args.output, &policy, &outbound::HEADER, &policy.rows())
}

async fn inbound(
    args: &Args,
    name: &str,
    channel: tonic::transport::Channel,
) -> anyhow::Result<()> {
    let spec = PortSpec {
        workload: workload_of(args, name),
        port: u32::from(args.port),
    };
    let mut client = InboundServerPoliciesClient::new(channel);
    let policy = inbound::describe(answer(client.get_port(spec)).await?);
    output::data(args.output, &policy, &inbound::HEADER, &policy.rows())
}

fn workload_of(args: &Args, pod: &str) -> String {
    serde_json::json!({ "ns": args.namespace, "pod": pod }).to_string()
}

/// The answer, waited for no longer than [`TIMEOUT`].
async fn answer<T>(
    asked: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> anyhow::Result<T> {
    let answer = tokio::time::timeout(TIMEOUT, asked).await;
    match answer.with_context(|| format!("no answer within {TIMEOUT:?}"))? {
        Ok(answer) => Ok(answer.into_inner()),
        Err(status) => bail!(
            "the control plane answered {:?}: {}. Is the resource there, and meshed?",
            status.code(),
            status.message()
        ),
    }
}

/// What states something: `Kind namespace/name:port`, or the name of a default.
fn name_of(metadata: Option<&Metadata>) -> String {
    match metadata.and_then(|metadata| metadata.kind.as_ref()) {
        None => "-".to_owned(),
        Some(metadata::Kind::Default(name)) => format!("default {name}"),
        Some(metadata::Kind::Resource(resource)) => {
            let mut text = format!("{} {}/{}", resource.kind, resource.namespace, resource.name);
            if resource.port != 0 {
                text.push_str(&format!(":{}", resource.port));
            }
            text
        }
    }
}
