//! The flags of `mesh destination`, parsed into types that cannot be wrong.

use crate::policy::DefaultPolicy;
use crate::ports::PortSet;
use clap::Args as ClapArgs;
use ipnet::IpNet;
use mesh_watch::MemberArgs;
use std::net::SocketAddr;

/// Flags of the discovery and policy server.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// Where `Destination` is served, over mesh TLS.
    #[arg(long, env = "MESH_DESTINATION_ADDR", default_value = "0.0.0.0:8086")]
    pub destination_addr: SocketAddr,

    /// Where `InboundServerPolicies` and `OutboundPolicies` are served, over mesh TLS.
    #[arg(long, env = "MESH_POLICY_ADDR", default_value = "0.0.0.0:8090")]
    pub policy_addr: SocketAddr,

    /// Where /live, /ready, /metrics and /state are served.
    #[arg(long, env = "MESH_ADMIN_ADDR", default_value = "0.0.0.0:9996")]
    pub admin_addr: SocketAddr,

    /// Who it is in the mesh
    #[command(flatten)]
    pub member: MemberArgs,

    /// Who may reach a port no Server selects: all-unauthenticated, all-authenticated,
    /// cluster-unauthenticated, cluster-authenticated, deny or audit. Overridden by the
    /// annotation config.linkerd.io/default-inbound-policy of pods and namespaces.
    #[arg(
        long,
        env = "MESH_DEFAULT_INBOUND_POLICY",
        default_value = "all-unauthenticated"
    )]
    pub default_inbound_policy: DefaultPolicy,

    /// Networks the `cluster-*` policies mean.
    #[arg(
        long,
        env = "MESH_CLUSTER_NETWORKS",
        value_delimiter = ',',
        default_value = "10.0.0.0/8,100.64.0.0/10,172.16.0.0/12,192.168.0.0/16,fd00::/8"
    )]
    pub cluster_networks: Vec<IpNet>,

    /// Networks probes of pods come from; probe paths are open to them without identity.
    #[arg(
        long,
        env = "MESH_PROBE_NETWORKS",
        value_delimiter = ',',
        default_value = "0.0.0.0/0,::/0"
    )]
    pub probe_networks: Vec<IpNet>,

    /// Ports and ranges whose bytes are forwarded without detection, unless the annotation
    /// config.linkerd.io/opaque-ports says otherwise.
    #[arg(
        long,
        env = "MESH_OPAQUE_PORTS",
        default_value = "25,587,3306,4444,5432,6379,9300,11211"
    )]
    pub opaque_ports: PortSet,

    /// Services matching this label selector are exported to gateways, beside those labelled
    /// mirror.linkerd.io/exported=true or mirror.linkerd.io/federated=member. Repeatable.
    #[arg(long, env = "MESH_EXPORT_SELECTOR", value_delimiter = ';')]
    pub export_selector: Vec<String>,

    /// Own namespace.
    #[arg(long, env = "POD_NAMESPACE", default_value = "linkerd")]
    pub pod_namespace: String,
}
