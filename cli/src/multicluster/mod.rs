//! `mesh multicluster`: the verbs that link clusters.

mod allow;
mod check;
mod export;
pub(crate) mod gateways;
pub(crate) mod install;
pub(crate) mod kubeconfig;
pub(crate) mod link;
mod logs;
mod uninstall;
mod unlink;

use self::logs::MirrorLogs;
use crate::cluster::ClusterArgs;
use mesh_api::link::{IntOrText, Period};
use std::time::Duration;

/// Verbs of `mesh multicluster`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Print the manifests of the multicluster extension: gateway, service mirror, access for peers
    ///
    ///   mesh multicluster install | kubectl apply -f -
    Install(Box<install::Args>),
    /// Print what the extension is made of, for `kubectl delete -f -`; refused while clusters are
    /// linked
    ///
    ///   mesh multicluster uninstall | kubectl delete -f -
    Uninstall(uninstall::Args),
    /// Print what links the cluster of --context to another: apply it there
    ///
    /// Run it against the cluster whose services are to be used, and apply what it prints to the
    /// cluster that uses them:
    ///
    ///   mesh multicluster link --context east --cluster-name east | kubectl --context west apply -f -
    ///
    /// It prints the credentials and the Link. One Secret is enough: the service mirror alone reads
    /// the linked cluster, so the control plane's namespace needs no copy for destination.
    Link(Box<link::LegacyArgs>),
    /// Print what links the cluster of --context to another: apply it there (as `link`)
    ///
    ///   mesh multicluster link-gen --context east --cluster-name east | kubectl --context west apply -f -
    ///
    /// It prints the credentials and the Link. One Secret is enough: the service mirror alone reads
    /// the linked cluster, so the control plane's namespace needs no copy for destination.
    LinkGen(Box<link::Args>),
    /// Print what a link is made of, for `kubectl delete -f -`
    ///
    /// Its mirrors need no mention: they go with the Link, which is gone once they are.
    ///
    ///   mesh multicluster unlink --cluster-name east | kubectl delete -f -
    Unlink(unlink::Args),
    /// Print one more account for another cluster to read this one with, to be revoked on its own
    ///
    ///   mesh multicluster allow --service-account-name west | kubectl apply -f -
    ///
    ///   mesh multicluster link --cluster-name east --service-account-name west
    Allow(allow::Args),
    /// Export Services to the clusters that link this one
    ///
    ///   mesh multicluster export web api --namespace shop
    ///
    ///   mesh multicluster export web --mode federated
    Export(export::ExportArgs),
    /// Export Services no more
    ///
    ///   mesh multicluster unexport web --namespace shop
    Unexport(export::UnexportArgs),
    /// Show the gateways of linked clusters, as the service mirror probes them
    Gateways(gateways::Args),
    /// Check the multicluster extension and every link, with cause and remedy
    ///
    /// It tries what it claims: uses the credentials of each link, compares the trust bundles of both
    /// sides, asks API servers for the rights of accounts, and sends a request through each address
    /// of each gateway (HEAD / of an imported Service that says it speaks HTTP, where there is one).
    Check(check::Args),
}

impl Command {
    /// How the service mirror is to log, of the verbs that can be told.
    pub(crate) fn mirror_logs(&self) -> Option<&MirrorLogs> {
        match self {
            Self::Install(args) => Some(args.mirror_logs()),
            Self::Link(args) => Some(args.mirror_logs()),
            _ => None,
        }
    }
}

/// Runs the verb.
pub(crate) async fn run(command: Command, cluster: &ClusterArgs) -> anyhow::Result<()> {
    match command {
        Command::Install(args) => install::run(*args, cluster).await,
        Command::Uninstall(args) => uninstall::run(args, cluster).await,
        Command::Link(args) => link::run_legacy(*args, cluster).await,
        Command::LinkGen(args) => link::run(*args, cluster).await,
        Command::Unlink(args) => unlink::run(args, cluster).await,
        Command::Allow(args) => allow::run(args, cluster).await,
        Command::Export(args) => export::export(args, cluster).await,
        Command::Unexport(args) => export::unexport(args, cluster).await,
        Command::Gateways(args) => gateways::run(args, cluster).await,
        Command::Check(args) => Box::pin(check::run(args, cluster)).await,
    }
}

/// A name as Kubernetes has most of them: an RFC 1123 label.
pub(crate) fn name(text: &str) -> Result<String, String> {
    let valid = !text.is_empty()
        && text.len() <= 63
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-');
    if valid {
        Ok(text.to_owned())
    } else {
        Err("use up to 63 lower-case letters, digits and '-' (RFC 1123 label)".to_owned())
    }
}

/// A length of time: seconds as a number, or as `30s`, `1m30s`, `500ms`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let parsed = Period(IntOrText::Text(text.to_owned())).duration();
    parsed.ok_or_else(|| "expected a length of time such as 30, 30s or 1m30s".to_owned())
}
