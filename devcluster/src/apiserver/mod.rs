//! The API server: HTTPS, verbs, watches, patches, discovery, tables.
//!
//! `cli` runs it as a process ([`run`]); tests of other rooms run many in one process
//! ([`start`], port 0). It reads and writes the store and asks `auth` and `schema`; what objects
//! bring about is `controllers`' and the node agent's business.

mod builtin;
pub mod resources;

use crate::store::Store;
use ipnet::Ipv4Net;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// Flags of `mesh apiserver`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Name of the cluster; also the name of the kubeconfig's context.
    #[arg(long, env = "MESH_CLUSTER_NAME", default_value = "dev")]
    pub cluster_name: String,
    /// Address to serve HTTPS on.
    #[arg(long, env = "MESH_APISERVER_LISTEN", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Folder for the CA, keys and `admin.kubeconfig`; made if it is missing.
    #[arg(long, env = "MESH_STATE_DIR")]
    pub state_dir: PathBuf,
    /// Addresses of pods.
    #[arg(long, env = "MESH_POD_CIDR", default_value = "127.64.0.0/16")]
    pub pod_cidr: Ipv4Net,
    /// Virtual addresses of Services.
    #[arg(long, env = "MESH_SERVICE_CIDR", default_value = "10.96.0.0/16")]
    pub service_cidr: Ipv4Net,
    /// Addresses of LoadBalancer Services.
    #[arg(long, env = "MESH_LB_CIDR", default_value = "127.65.0.0/24")]
    pub lb_cidr: Ipv4Net,
    /// DNS domain of the cluster.
    #[arg(long, env = "MESH_CLUSTER_DOMAIN", default_value = mesh_contract::names::DEFAULT_CLUSTER_DOMAIN)]
    pub cluster_domain: String,
}

/// How to serve a cluster.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of the cluster; also the name of the kubeconfig's context.
    pub cluster_name: String,
    /// Where to serve HTTPS; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where the CA, keys and kubeconfig are kept; `None`: nowhere.
    pub state_dir: Option<PathBuf>,
    /// Addresses of pods.
    pub pod_cidr: Ipv4Net,
    /// Virtual addresses of Services.
    pub service_cidr: Ipv4Net,
    /// Addresses of LoadBalancer Services.
    pub lb_cidr: Ipv4Net,
    /// DNS domain of the cluster.
    pub cluster_domain: String,
    /// How many events of each resource watches can resume from.
    pub history: usize,
}

impl Default for Config {
    fn default() -> Self {
        let net = |a, b, prefix| Ipv4Net::new_assert(Ipv4Addr::new(a, b, 0, 0), prefix);
        Self {
            cluster_name: "dev".into(),
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            state_dir: None,
            pod_cidr: net(127, 64, 16),
            service_cidr: net(10, 96, 16),
            lb_cidr: net(127, 65, 24),
            cluster_domain: mesh_contract::names::DEFAULT_CLUSTER_DOMAIN.into(),
            history: 4096,
        }
    }
}

/// A server that listens. It stops when its `Shutdown` is requested.
#[derive(Clone)]
pub struct Running {
    /// Where it listens.
    pub addr: SocketAddr,
    /// A kubeconfig (YAML, everything embedded) that may do everything.
    pub admin_kubeconfig: String,
    /// Its objects.
    pub store: Store,
    /// What it serves.
    pub registry: resources::Registry,
}

/// Starts a server in this process; returns once it listens.
pub async fn start(_config: Config, _shutdown: mesh_daemon::Shutdown) -> anyhow::Result<Running> {
    todo!()
}

/// Serves until `shutdown`.
pub async fn run(_args: Args, _shutdown: mesh_daemon::Shutdown) -> anyhow::Result<()> {
    todo!()
}
