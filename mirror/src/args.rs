//! Flags of `mesh mirror`.

use mesh_contract::{names, ports};
use std::{net::SocketAddr, path::PathBuf};

/// Flags of the service mirror.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Namespace of the Links and their Secrets
    #[arg(long, env = "MESH_NAMESPACE", default_value = names::MULTICLUSTER_NS)]
    pub namespace: String,

    /// Namespace of the control plane
    #[arg(long, env = "MESH_CONTROLLER_NAMESPACE", default_value = names::CONTROL_PLANE_NS)]
    pub controller_namespace: String,

    /// Trust domain of this cluster
    #[arg(long, env = "MESH_TRUST_DOMAIN", default_value = names::DEFAULT_CLUSTER_DOMAIN)]
    pub trust_domain: String,

    /// DNS domain of this cluster
    #[arg(long, env = "MESH_CLUSTER_DOMAIN", default_value = names::DEFAULT_CLUSTER_DOMAIN)]
    pub cluster_domain: String,

    /// Address of the issuer
    #[arg(
        long,
        env = "MESH_IDENTITY_ADDR",
        default_value = "linkerd-identity-headless.linkerd.svc.cluster.local.:8080"
    )]
    pub identity_addr: String,

    /// Token to show the issuer
    #[arg(
        long,
        env = "MESH_IDENTITY_TOKEN_FILE",
        default_value = "/var/run/secrets/tokens/linkerd-identity-token"
    )]
    pub identity_token_file: PathBuf,

    /// PEM bundle of the trust anchors
    #[arg(
        long,
        env = "LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS",
        hide_env_values = true
    )]
    pub identity_trust_anchors: String,

    /// ServiceAccount this process runs as
    #[arg(long, env = "POD_SERVICE_ACCOUNT", default_value = names::SERVICE_MIRROR)]
    pub service_account: String,

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
