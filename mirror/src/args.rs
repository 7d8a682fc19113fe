//! Flags of `mesh mirror`.

use mesh_contract::{names, ports};
use mesh_watch::MemberArgs;
use std::net::SocketAddr;

/// Flags of the service mirror.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Namespace of the Links and their Secrets
    #[arg(long, env = "MESH_NAMESPACE", default_value = names::MULTICLUSTER_NS)]
    pub namespace: String,

    /// Who it is in the mesh
    #[command(flatten)]
    pub member: MemberArgs,

    /// Name of this process, as holder of the lease
    #[arg(long, env = "POD_NAME", default_value = names::SERVICE_MIRROR)]
    pub pod_name: String,

    /// Mirror headless Services as such, with a Service for each endpoint that has a name
    #[arg(long, env = "MESH_ENABLE_HEADLESS_SERVICES")]
    pub enable_headless_services: bool,

    /// Where liveness, readiness, metrics and state are served
    #[arg(long, default_value_t = SocketAddr::from(([0, 0, 0, 0], ports::MIRROR_ADMIN)))]
    pub admin_addr: SocketAddr,
}
