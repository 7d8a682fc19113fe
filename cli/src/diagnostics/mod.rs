//! `mesh diagnostics`: what the control plane tells a sidecar, asked the way a sidecar asks.

mod endpoints;
mod policy;

use crate::cluster::ClusterArgs;

/// Verbs of `mesh diagnostics`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Show the endpoints a sidecar would be given for NAME:PORT
    ///
    ///   mesh diagnostics endpoints web-federated.default.svc.cluster.local:80
    #[command(visible_alias = "ep")]
    Endpoints(endpoints::Args),
    /// Show the policy a sidecar would be given: outbound for svc/NAME, inbound for po/NAME
    ///
    ///   mesh diagnostics policy -n default svc/web 80
    Policy(policy::Args),
}

/// Whom to ask as.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct AsWorkload {
    /// ServiceAccount to ask as: NAMESPACE/NAME. Its identity decides what may be seen: a
    /// gateway's sees exported services only
    #[arg(
        long = "as-workload",
        default_value = "default/default",
        value_name = "NAMESPACE/NAME"
    )]
    as_workload: String,
}

impl AsWorkload {
    async fn certify(&self, cluster: &ClusterArgs) -> anyhow::Result<crate::workload::Workload> {
        let Some((namespace, account)) = self.as_workload.split_once('/') else {
            anyhow::bail!(
                "--as-workload {}: expected NAMESPACE/NAME",
                self.as_workload
            );
        };
        let client = cluster.client().await?;
        crate::workload::Workload::certify(&client, &cluster.control_plane_ns, namespace, account)
            .await
    }
}

/// Runs the verb.
pub(crate) async fn run(command: Command, cluster: &ClusterArgs) -> anyhow::Result<()> {
    match command {
        Command::Endpoints(args) => endpoints::run(args, cluster).await,
        Command::Policy(args) => policy::run(args, cluster).await,
    }
}
