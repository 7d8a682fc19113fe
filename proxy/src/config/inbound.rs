//! What the workload receives.

use std::{collections::BTreeSet, net::IpAddr, net::SocketAddr, sync::Arc, time::Duration};

use super::{HttpServer, Ports, Suffixes, Tcp};

/// The inbound section.
#[derive(Clone, Debug)]
pub struct Inbound {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Accepted sockets.
    pub accept: Tcp,
    /// Sockets to the workload.
    pub connect: Tcp,
    /// How long connecting to the workload may take.
    pub connect_timeout: Duration,
    /// How long the first bytes may take.
    pub detect_timeout: Duration,
    /// HTTP server settings.
    pub http: HttpServer,
    /// Idle HTTP/1 connections to the workload end after this long.
    pub http1_pool_idle_timeout: Duration,
    /// Most idle HTTP/1 connections kept per port.
    pub max_idle_per_endpoint: usize,
    /// Most requests in flight.
    pub max_in_flight: usize,
    /// Policies of ports nobody touched for this long are forgotten.
    pub discovery_idle_timeout: Duration,
    /// The policy until (and unless) the control plane answers.
    pub default_policy: DefaultPolicy,
    /// Networks that `cluster-*` default policies mean.
    pub cluster_networks: Arc<[ipnet::IpNet]>,
    /// Ports watched from the start.
    pub ports: Ports,
    /// Ports that are opaque while the control plane has not answered.
    pub opaque_ports: Ports,
    /// The pod's addresses; other original destinations are refused unless empty.
    pub ips: Arc<BTreeSet<IpAddr>>,
    /// Names this proxy serves as a gateway; empty: it is none.
    pub gateway_suffixes: Suffixes,
}

/// Who may connect to a port without a policy of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultPolicy {
    /// Nobody (but localhost).
    Deny,
    /// Everyone, and say so in the log.
    Audit,
    /// Those allowed below.
    Allow {
        /// Only mesh clients.
        authenticated: bool,
        /// Only from cluster networks.
        cluster: bool,
    },
}
