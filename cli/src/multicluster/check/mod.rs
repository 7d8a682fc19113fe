//! `mesh multicluster check`: the extension and every link, each claim with cause and remedy.

mod extension;
mod mirrors;
mod path;
mod proxies;
mod remote;
mod rights;
mod verdict;

use super::{duration, name};
use crate::{
    checks::{CheckFormat, Report},
    cluster::ClusterArgs,
    output,
    workload::Workload,
};
use kube::{Client, ResourceExt as _};
use mesh_api::link::Link;
use mesh_contract::names;
use std::time::Duration;

/// Flags of `mesh multicluster check`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Namespace of the multicluster extension
    #[arg(long, default_value = names::MULTICLUSTER_NS, value_parser = name)]
    namespace: String,

    /// How long to wait for one answer of a linked cluster
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = duration)]
    timeout: Duration,

    /// How long to wait for what is still starting
    #[arg(long, default_value = "300s", value_name = "TIME", value_parser = duration)]
    wait: Duration,

    #[arg(long, hide = true)]
    proxy: bool,
    #[arg(short = 'n', hide = true)]
    proxy_namespace: Option<String>,

    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: CheckFormat,
}

/// What every part of the check works with.
struct Scene<'a> {
    client: Client,
    cluster: &'a ClusterArgs,
    namespace: &'a str,
    timeout: Duration,
}

/// Runs the command.
///
/// It tries what it claims: credentials by using them, trust by comparing both bundles, each gateway
/// by a request through it, as the service mirror would send one.
pub(crate) async fn run(args: Args, cluster: &ClusterArgs) -> anyhow::Result<()> {
    if args.proxy || args.proxy_namespace.is_some() {
        output::note(
            "mesh: --proxy and -n are without effect: the extension's own sidecars are always checked, \
             and mesh check --proxy checks those of workloads",
        );
    }
    let scene = Scene {
        client: cluster.client().await?,
        cluster,
        namespace: &args.namespace,
        timeout: args.timeout,
    };
    let mut report = Report::default();
    if let Some(links) = extension::check(&scene, &mut report, args.wait).await {
        let workload = speaker(&scene, &mut report, &links).await;
        for link in &links {
            remote::check(&scene, &mut report, link).await;
            path::check(&scene, &mut report, link, workload.as_ref()).await;
        }
        mirrors::check(&scene, &mut report, &links).await;
        proxies::check(&scene, &mut report, args.wait).await;
    }
    report.finish("linkerd-multicluster", args.output)
}

/// A certificate of the service mirror's account, to send requests through gateways with.
async fn speaker(scene: &Scene<'_>, report: &mut Report, links: &[Link]) -> Option<Workload> {
    if !links.iter().any(path::has_gateway) {
        return None;
    }
    let certified = Workload::certify(
        &scene.client,
        &scene.cluster.control_plane_ns,
        scene.namespace,
        names::SERVICE_MIRROR,
    )
    .await;
    report.attempt(
        "the issuer certifies the service mirror's account from here",
        certified,
        "without it gateways are not tried: see that mesh check holds, and run this as a user who \
         may create serviceaccounts/token and, where pods cannot be reached from here, \
         pods/portforward",
    )
}

/// `link again`, the remedy for most of what is wrong with a link.
fn link_again(link: &Link) -> String {
    let name = link.name_any();
    format!(
        "link it again: mesh multicluster link --context {name} --cluster-name {name} | kubectl \
         apply -f -"
    )
}
