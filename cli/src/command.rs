//! The command line: every verb and every daemon, and which room runs it.

use crate::{
    apps, check, cluster::ClusterArgs, demo, diagnostics, inject, install, multicluster, output,
    proxy_identity, proxy_init, uninject, version,
};
use clap::{CommandFactory as _, Parser, Subcommand};
use mesh_daemon::{Shutdown, telemetry::LogArgs};

/// A Kubernetes service mesh centred on federation
///
/// Link clusters, export services by label, and calls between them are mTLS between workload
/// identities that fail over on their own. The verbs are those of `linkerd`.
#[derive(Debug, Parser)]
#[command(name = "mesh", version, max_term_width = 100)]
pub(crate) struct Mesh {
    #[command(flatten)]
    cluster: ClusterArgs,

    #[command(flatten, next_help_heading = "Options of every command")]
    log: LogArgs,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch the whole thing work on this machine: three clusters, linked, failing over
    Demo(demo::Args),
    /// Print the manifests that install the control plane
    Install(Box<install::Args>),
    /// Print the manifests that bring the control plane to this version
    Upgrade(Box<install::upgrade::Args>),
    /// Print what the control plane is made of, for `kubectl delete -f -`
    Uninstall(install::uninstall::Args),
    /// Add the sidecar to the workloads of a manifest
    Inject(Box<inject::Args>),
    /// Take the sidecar off the workloads of a manifest
    Uninject(uninject::Args),
    /// Check the cluster and the control plane, each claim with cause and remedy
    Check(Box<check::Args>),
    /// Link clusters
    #[command(visible_alias = "mc", subcommand)]
    Multicluster(multicluster::Command),
    /// Ask the control plane what it tells sidecars
    #[command(visible_alias = "dg", subcommand)]
    Diagnostics(diagnostics::Command),
    /// Lead a pod's traffic through its sidecar; what the init container runs
    ProxyInit(Box<proxy_init::Args>),
    ProxyIdentity(proxy_identity::Args),
    /// Print versions
    Version(version::Args),
    /// Print a completion script: source <(mesh completion bash)
    Completion {
        /// Shell to complete for
        shell: clap_complete::Shell,
    },

    /// Daemon: the shared-trust issuer
    #[command(hide = true)]
    Identity(Box<mesh_identity::Args>),
    /// Daemon: discovery and policy for sidecars
    #[command(hide = true)]
    Destination(Box<mesh_destination::Args>),
    /// Daemon: the admission webhooks
    #[command(hide = true)]
    Injector(Box<mesh_injector::Args>),
    /// Daemon: the service mirror of all Links
    #[command(hide = true)]
    Mirror(Box<mesh_mirror::Args>),
    /// Daemon: the sidecar (a gateway is a sidecar with gateway suffixes)
    #[command(hide = true, alias = "gateway")]
    Proxy,
    /// Daemon: the embedded API server of a devcluster
    #[command(hide = true)]
    Apiserver(Box<devcluster::apiserver::Args>),
    /// Daemon: the node agent of a devcluster
    #[command(hide = true)]
    NodeAgent(Box<devcluster::node::Args>),
    /// Application: a web server that answers who it is
    #[command(hide = true)]
    DemoWeb(apps::demo_web::Args),
    /// Application: a client that sends steady load
    #[command(hide = true)]
    DemoClient(apps::demo_client::Args),
    /// Application: does nothing until it is told to stop
    #[command(hide = true)]
    Pause,
}

impl Mesh {
    /// How to log: sidecars have their own variables for it.
    pub(crate) fn logs(&self) -> LogArgs {
        let log = match &self.command {
            Command::Proxy => return LogArgs::from_proxy_env(),
            Command::Multicluster(command) => command
                .mirror_logs()
                .map_or_else(|| self.log.clone(), |logs| logs.without(&self.log)),
            _ => self.log.clone(),
        };
        match self.is_daemon() {
            false if self.cluster.verbose => LogArgs {
                filter: "debug".to_owned(),
                ..log
            },
            // A command talks to its user; what it logs by default is trouble only, and requests
            // that fail are told with the next step.
            false if log.filter == "info" => LogArgs {
                filter: "warn,kube_client=off".to_owned(),
                ..log
            },
            _ => log,
        }
    }

    /// Whether the command runs until it is told to stop.
    pub(crate) fn is_daemon(&self) -> bool {
        !matches!(
            self.command,
            Command::Demo(_)
                | Command::Install(_)
                | Command::Upgrade(_)
                | Command::Uninstall(_)
                | Command::Inject(_)
                | Command::Uninject(_)
                | Command::Check(_)
                | Command::Multicluster(_)
                | Command::Diagnostics(_)
                | Command::ProxyInit(_)
                | Command::ProxyIdentity(_)
                | Command::Version(_)
                | Command::Completion { .. }
        )
    }

    /// Runs what was asked for.
    pub(crate) async fn run(self, shutdown: Shutdown) -> anyhow::Result<()> {
        let cluster = &self.cluster;
        match self.command {
            Command::Demo(args) => demo::run(args, shutdown).await,
            Command::Install(args) => install::run(*args, cluster).await,
            Command::Upgrade(args) => install::upgrade::run(*args, cluster).await,
            Command::Uninstall(args) => install::uninstall::run(args, cluster).await,
            Command::Inject(args) => inject::run(*args, cluster).await,
            Command::Uninject(args) => uninject::run(&args),
            Command::Check(args) => check::run(*args, cluster).await,
            Command::Multicluster(command) => multicluster::run(command, cluster).await,
            Command::Diagnostics(command) => diagnostics::run(command, cluster).await,
            Command::ProxyInit(args) => proxy_init::run(*args).await,
            Command::ProxyIdentity(args) => proxy_identity::run(&args),
            Command::Version(args) => version::run(args, cluster).await,
            Command::Completion { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Self::command(), "mesh", &mut script);
                output::text(&String::from_utf8_lossy(&script))
            }
            Command::Identity(args) => mesh_identity::run(*args, shutdown).await,
            Command::Destination(args) => Box::pin(mesh_destination::run(*args, shutdown)).await,
            Command::Injector(args) => Box::pin(mesh_injector::run(*args, shutdown)).await,
            Command::Mirror(args) => Box::pin(mesh_mirror::run(*args, shutdown)).await,
            Command::Proxy => mesh_gateway::run(shutdown).await,
            Command::Apiserver(args) => devcluster::apiserver::run(*args, shutdown).await,
            Command::NodeAgent(args) => devcluster::node::run(*args, shutdown).await,
            Command::DemoWeb(args) => apps::demo_web::run(args, shutdown).await,
            Command::DemoClient(args) => apps::demo_client::run(args, shutdown).await,
            Command::Pause => {
                shutdown.requested().await;
                Ok(())
            }
        }
    }
}
