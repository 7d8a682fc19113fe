//! `mesh check`: whether a cluster can take the mesh, and whether the mesh in it works.
//!
//! Each claim is tried where it can be: a certificate is asked for, a pod is shown to the webhook
//! (on a dry run), trust is compared by content. What does not hold is told with cause and remedy.

pub(crate) mod control_plane;
mod data_plane;
mod discovery;
mod identity;
mod kubernetes;
mod setup;
mod webhooks;

pub(crate) use webhooks::injects;

use crate::{
    checks::{CheckFormat, Report},
    cluster::ClusterArgs,
};
use kube::Client;
use std::time::Duration;

/// Check the cluster and the control plane, each claim with cause and remedy
///
/// Exits with 1 if a claim does not hold; warnings do not count.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Check whether a control plane can be installed, instead of the one that is
    #[arg(long, conflicts_with = "proxy")]
    pre: bool,

    /// Check the sidecars too
    #[arg(long)]
    proxy: bool,

    /// Namespace whose sidecars are checked (default: all)
    #[arg(short, long, requires = "proxy")]
    namespace: Option<String>,

    /// How long to wait for what is still starting
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = mesh_daemon::args::duration)]
    wait: Duration,

    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: CheckFormat,
}

/// What every part of the check works with.
struct Scene<'a> {
    client: Client,
    control_plane_ns: &'a str,
    wait: Duration,
}

/// Runs the command.
pub(crate) async fn run(args: Args, cluster: &ClusterArgs) -> anyhow::Result<()> {
    let mut report = Report::default();
    report.section(kubernetes::CATEGORY);
    let client = report.require(
        "a client can be made from the kubeconfig",
        cluster.client().await,
        "choose a kubeconfig with --kubeconfig or $KUBECONFIG, and a context with --context",
    );
    if let Some(client) = client {
        let scene = Scene {
            client,
            control_plane_ns: &cluster.control_plane_ns,
            wait: args.wait,
        };
        kubernetes::check(&scene, &mut report).await;
        if report.failed(kubernetes::CATEGORY) {
            // Nothing else can be known.
        } else if args.pre {
            setup::check(&scene, &mut report).await;
        } else if let Some(values) = control_plane::check(&scene, &mut report).await {
            let workload = identity::check(&scene, &mut report, &values).await;
            if let Some(workload) = &workload {
                discovery::check(&scene, &mut report, workload).await;
            }
            if values.proxy_injector.enabled {
                webhooks::check(&scene, &mut report).await;
            }
            if args.proxy {
                let namespace = args.namespace.as_deref();
                let issuer = workload.and_then(|workload| workload.store.issuer());
                let trust = data_plane::trust::Expected::new(&values, issuer);
                data_plane::check(&scene, &mut report, &values, trust, namespace).await;
            }
        }
    }
    report.finish("mesh", args.output)
}
