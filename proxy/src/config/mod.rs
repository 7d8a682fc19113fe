//! The sidecar's configuration: the stock `LINKERD2_PROXY_*` variables as typed sections.
//!
//! Each section parses itself and notes every mistake, so that all are reported at once, each
//! with its variable. [`attributes`] also reads OpenTelemetry's own. Unknown variables are ignored, as stock proxies do.

mod attributes;
mod control;
mod identity;
mod inbound;
mod observe;
mod outbound;
mod values;
mod vars;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use mesh_contract::ports;

pub use control::{ControlAddr, Destination, Policy, StreamLimits};
pub use identity::{Identity, Issuer, Source};
pub use inbound::{DefaultPolicy, Inbound};
pub use observe::{Observe, Tap, Trace};
pub use outbound::Outbound;
pub use values::{Backoff, Http2, HttpServer, Ports, Suffixes, Tcp};
pub use vars::{EXIT_CODE, Errors, Lookup, Mistake};

use vars::Vars;
pub(crate) use vars::{LONGEST, duration};

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
    /// Access log, taps and traces.
    pub observe: Observe,
    /// How long in-flight work may take after shutdown was requested.
    pub shutdown_grace: Duration,
    /// Threads that carry traffic; for whoever makes the runtime.
    pub workers: usize,
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

impl Config {
    /// From this process's environment.
    pub fn from_env() -> Result<Self, Errors> {
        let lookup = |key: &str| std::env::var_os(key).map(|v| v.to_string_lossy().into_owned());
        Self::parse(&lookup, mesh_daemon::net::loopback())
    }

    /// From any variables; `loopback` is the pod's address in the `loopback` network.
    pub fn parse(lookup: Lookup<'_>, loopback: Option<IpAddr>) -> Result<Self, Errors> {
        let vars = Vars::new(lookup);
        // Every section is parsed, whatever is wrong with the one before.
        let identity = Identity::parse(&vars);
        let destination = Destination::parse(&vars);
        let policy = Policy::parse(&vars);
        let inbound = Inbound::parse(&vars);
        let outbound = Outbound::parse(&vars, &inbound, loopback);
        let admin = Admin::parse(&vars);
        let observe = Observe::parse(&vars);
        let shutdown_grace = vars
            .duration("SHUTDOWN_GRACE_PERIOD")
            .unwrap_or(Duration::from_secs(120));
        let workers = workers(&vars);
        let config = (|| {
            Some(Self {
                identity: identity?,
                destination: destination?,
                policy: policy?,
                inbound,
                outbound,
                admin,
                observe,
                shutdown_grace,
                workers,
                loopback,
            })
        })();
        vars.finish(config)
    }
}

impl Admin {
    fn parse(vars: &Vars<'_>) -> Self {
        Self {
            listen: vars
                .address("ADMIN_LISTEN_ADDR")
                .unwrap_or((Ipv4Addr::LOCALHOST, ports::ADMIN).into()),
            shutdown_endpoint: vars.flag("SHUTDOWN_ENDPOINT_ENABLED"),
            metrics_retain_idle: vars
                .duration("METRICS_RETAIN_IDLE")
                .unwrap_or(Duration::from_secs(10 * 60)),
        }
    }
}

/// How many threads carry traffic: the asked maximum or share of the machine, within what there is.
fn workers(vars: &Vars<'_>) -> usize {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let min = vars
        .number("CORES_MIN")
        .or(vars.number("CORES"))
        .unwrap_or(1usize)
        .clamp(1, cpus);
    let ratio = vars.parse("CORES_MAX_RATIO", "a number above 0 and up to 1", |text| {
        text.parse::<f64>()
            .ok()
            .filter(|ratio| *ratio > 0.0 && *ratio <= 1.0)
    });
    let max = vars
        .number::<usize>("CORES_MAX")
        // Truncation is meant: half of three processors is one.
        .or(ratio.map(|ratio| (cpus as f64 * ratio) as usize))
        .unwrap_or(min);
    max.clamp(min, cpus)
}

#[cfg(test)]
mod tests;
