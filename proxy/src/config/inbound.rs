//! What the workload receives.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use mesh_contract::ports;

use super::{Backoff, HttpServer, Ports, Suffixes, Tcp, values::network, vars::Vars};

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
    /// Pauses between attempts to reach a workload that does not listen (yet).
    pub backoff: Backoff,
    /// How long a request that has to share a connection (HTTP/2) waits for these attempts.
    pub failfast_timeout: Duration,
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
    /// Whether requests are counted by whom they are for, which clients choose.
    pub authority_labels: bool,
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

impl Inbound {
    pub(super) fn parse(vars: &Vars<'_>) -> Self {
        let cluster_networks: Arc<[ipnet::IpNet]> = vars
            .list(
                "POLICY_CLUSTER_NETWORKS",
                "a list of networks such as 10.0.0.0/8",
                network,
            )
            .unwrap_or_default()
            .into();
        Self {
            listen: vars
                .address("INBOUND_LISTEN_ADDR")
                .unwrap_or((Ipv4Addr::UNSPECIFIED, ports::INBOUND).into()),
            accept: Tcp::parse(vars, "INBOUND_ACCEPT"),
            connect: Tcp::parse(vars, "INBOUND_CONNECT"),
            connect_timeout: vars
                .duration("INBOUND_CONNECT_TIMEOUT")
                .unwrap_or(Duration::from_millis(300)),
            backoff: Backoff::parse(vars, "INBOUND_CONNECT", Duration::from_secs(10)),
            failfast_timeout: vars
                .duration("INBOUND_HTTP_FAILFAST_TIMEOUT")
                .unwrap_or(Duration::from_secs(1)),
            detect_timeout: vars
                .duration("INBOUND_DETECT_TIMEOUT")
                .unwrap_or(Duration::from_secs(10)),
            http: HttpServer::parse(vars, "INBOUND"),
            http1_pool_idle_timeout: vars
                .duration("INBOUND_HTTP1_CONNECTION_POOL_IDLE_TIMEOUT")
                .unwrap_or(Duration::from_secs(3)),
            max_idle_per_endpoint: vars.number("MAX_IDLE_CONNS_PER_ENDPOINT").unwrap_or(10_000),
            max_in_flight: vars.number("INBOUND_MAX_IN_FLIGHT").unwrap_or(100_000),
            discovery_idle_timeout: vars
                .duration("INBOUND_DISCOVERY_IDLE_TIMEOUT")
                .unwrap_or(Duration::from_secs(90)),
            default_policy: DefaultPolicy::parse(vars, &cluster_networks),
            cluster_networks,
            ports: Ports::parse(vars, "INBOUND_PORTS"),
            opaque_ports: Ports::parse(vars, "INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION"),
            ips: vars
                .list("INBOUND_IPS", "a list of IP addresses", |ip| {
                    ip.parse().ok()
                })
                .unwrap_or_default()
                .into_iter()
                .collect::<BTreeSet<IpAddr>>()
                .into(),
            authority_labels: vars
                .parse("INBOUND_METRICS_AUTHORITY_LABELS", "unsafe", |text| {
                    (text == "unsafe").then_some(true)
                })
                .unwrap_or_default(),
            gateway_suffixes: Suffixes::parse(vars, "INBOUND_GATEWAY_SUFFIXES").unwrap_or_default(),
        }
    }
}

impl DefaultPolicy {
    /// Stock's default: everyone.
    const OPEN: Self = Self::Allow {
        authenticated: false,
        cluster: false,
    };

    fn parse(vars: &Vars<'_>, cluster_networks: &[ipnet::IpNet]) -> Self {
        let key = "INBOUND_DEFAULT_POLICY";
        let right = "deny, audit, all-unauthenticated, all-authenticated, \
                     cluster-unauthenticated or cluster-authenticated";
        let policy = vars.parse(key, right, |text| {
            let allow = |authenticated, cluster| Self::Allow {
                authenticated,
                cluster,
            };
            Some(match text {
                "deny" => Self::Deny,
                "audit" => Self::Audit,
                "all-unauthenticated" => allow(false, false),
                "all-authenticated" => allow(true, false),
                "cluster-unauthenticated" => allow(false, true),
                "cluster-authenticated" => allow(true, true),
                _ => return None,
            })
        });
        if matches!(policy, Some(Self::Allow { cluster: true, .. })) && cluster_networks.is_empty()
        {
            vars.mistake(
                "POLICY_CLUSTER_NETWORKS",
                format!("is required by this {key}"),
            );
        }
        policy.unwrap_or(Self::OPEN)
    }

    /// As policies and metrics name it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Audit => "audit",
            Self::Allow {
                authenticated: false,
                cluster: false,
            } => "all-unauthenticated",
            Self::Allow {
                authenticated: true,
                cluster: false,
            } => "all-authenticated",
            Self::Allow {
                authenticated: false,
                cluster: true,
            } => "cluster-unauthenticated",
            Self::Allow {
                authenticated: true,
                cluster: true,
            } => "cluster-authenticated",
        }
    }
}
