//! Flags of `mesh injector`.

use mesh_contract::{names, ports};
use std::net::{Ipv4Addr, SocketAddr};

/// Flags of the admission webhooks.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Where the webhooks are served, over TLS
    #[arg(long, env = "MESH_WEBHOOK_ADDR", default_value_t = any(ports::WEBHOOK))]
    pub addr: SocketAddr,

    /// Where /live, /ready, /metrics and /state are served
    #[arg(long, env = "MESH_INJECTOR_ADMIN_ADDR", default_value_t = any(ports::INJECTOR_ADMIN))]
    pub admin_addr: SocketAddr,

    /// Namespace of the control plane
    #[arg(long, env = "MESH_CONTROLLER_NAMESPACE", default_value = names::CONTROL_PLANE_NS)]
    pub controller_namespace: String,

    /// Service the API server calls; the certificate is for its name
    #[arg(long, env = "MESH_WEBHOOK_SERVICE", default_value = names::INJECTOR)]
    pub service: String,

    /// Secret with the serving certificate: tls.crt, tls.key and ca.crt
    #[arg(long, env = "MESH_WEBHOOK_TLS_SECRET", default_value = names::INJECTOR_TLS)]
    pub tls_secret: String,

    /// The Secret is made and rotated by somebody else, such as cert-manager
    #[arg(long, env = "MESH_WEBHOOK_EXTERNAL_SECRET")]
    pub external_secret: bool,

    /// The CA bundle of the webhook configurations is written by somebody else, such as
    /// cert-manager's CA injector
    #[arg(long, env = "MESH_WEBHOOK_EXTERNAL_CA_BUNDLE")]
    pub external_ca_bundle: bool,

    /// Name of this process in Events
    #[arg(long, env = "POD_NAME", default_value = names::INJECTOR)]
    pub pod_name: String,
}

fn any(port: u16) -> SocketAddr {
    (Ipv4Addr::UNSPECIFIED, port).into()
}

impl Args {
    /// The name the API server asks for.
    pub(crate) fn server_name(&self) -> String {
        format!("{}.{}.svc", self.service, self.controller_namespace)
    }
}
