//! `mesh multicluster`: the verbs that link clusters.

mod check;
pub(crate) mod gateways;
pub(crate) mod install;
pub(crate) mod kubeconfig;
pub(crate) mod link;
mod unlink;

use crate::cluster::ClusterArgs;

/// Verbs of `mesh multicluster`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Print the manifests of the multicluster extension: gateway, service mirror, access for peers
    Install(Box<install::Args>),
    /// Print what links the cluster of --context to another: apply it there
    ///
    /// Run it against the cluster whose services are to be used, and apply what it prints to the
    /// cluster that uses them:
    ///
    ///   mesh multicluster link --context east --cluster-name east | kubectl --context west apply -f -
    #[command(visible_alias = "link-gen")]
    Link(Box<link::Args>),
    /// Print what a link is made of, for `kubectl delete -f -`
    Unlink(unlink::Args),
    /// Show the gateways of linked clusters, as the service mirror probes them
    Gateways(gateways::Args),
    /// Check the multicluster extension and every link, with cause and remedy
    Check(check::Args),
}

/// Runs the verb.
pub(crate) async fn run(command: Command, cluster: &ClusterArgs) -> anyhow::Result<()> {
    match command {
        Command::Install(args) => install::run(*args, cluster).await,
        Command::Link(args) => link::run(*args, cluster).await,
        Command::Unlink(args) => unlink::run(args, cluster).await,
        Command::Gateways(args) => gateways::run(args, cluster).await,
        Command::Check(args) => check::run(args, cluster).await,
    }
}
