//! The sidecar's configuration: the stock `LINKERD2_PROXY_*` variables as typed sections.
//!
//! Each section parses itself from [`vars::Vars`], which gathers every mistake so that all are
//! reported at once, each with its variable. Unknown variables are ignored, as stock proxies do.

mod control;
mod identity;
mod inbound;
mod outbound;
mod values;
pub mod vars;

use std::{net::IpAddr, net::SocketAddr, time::Duration};

pub use control::{ControlAddr, Destination, Policy, StreamLimits};
pub use identity::Identity;
pub use inbound::{DefaultPolicy, Inbound};
pub use outbound::Outbound;
pub use values::{Backoff, Http2, HttpServer, Ports, Suffixes, Tcp};

/// Everything the sidecar was told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who the sidecar is and who certifies it.
    pub identity: Identity,
    /// Where endpoints are discovered.
    pub destination: Destination,
    /// Where policies come from.
    pub policy: Policy,
    /// What the workload receives.
    pub inbound: Inbound,
    /// What the workload sends.
    pub outbound: Outbound,
    /// The admin server.
    pub admin: Admin,
    /// How long in-flight work may take after shutdown was requested.
    pub shutdown_grace: Duration,
    /// The pod's address in the `loopback` network; `None` everywhere else.
    pub loopback: Option<IpAddr>,
}

/// The admin server's section.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Whether `POST /shutdown` is served.
    pub shutdown_endpoint: bool,
    /// How long a series nobody touches stays visible.
    pub metrics_retain_idle: Duration,
}
