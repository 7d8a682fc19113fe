//! Control-plane addresses and how discovery is asked.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use super::{Backoff, Suffixes, values::network, vars::Vars};

/// A control-plane service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlAddr {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// The identity it must prove. `None` (plaintext) is possible for loopback addresses only.
    pub name: Option<mesh_tls::Id>,
}

/// Limits of discovery streams; a stream beyond one is replaced, its last answer kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamLimits {
    /// Until the first answer.
    pub initial: Option<Duration>,
    /// Between answers.
    pub idle: Option<Duration>,
    /// Altogether.
    pub lifetime: Option<Duration>,
}

/// The destination service.
#[derive(Clone, Debug)]
pub struct Destination {
    /// Where it is.
    pub addr: ControlAddr,
    /// Sent verbatim with every query.
    pub context: Arc<str>,
    /// Limits of its streams.
    pub limits: StreamLimits,
    /// Pauses between attempts.
    pub backoff: Backoff,
    /// Addresses for which profiles are asked.
    pub profile_networks: Arc<[ipnet::IpNet]>,
    /// Names for which profiles are asked.
    pub profile_suffixes: Suffixes,
}

/// The policy service.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Where it is.
    pub addr: ControlAddr,
    /// This workload, sent verbatim with every query.
    pub workload: Arc<str>,
    /// Limits of its streams.
    pub limits: StreamLimits,
    /// Pauses between attempts.
    pub backoff: Backoff,
}

impl Destination {
    pub(super) fn parse(vars: &Vars<'_>) -> Option<Self> {
        let addr = ControlAddr::parse(vars, "DESTINATION");
        let networks = "a list of networks such as 10.0.0.0/8";
        Some(Self {
            context: vars.text("DESTINATION_CONTEXT").unwrap_or_default().into(),
            limits: StreamLimits::parse(vars),
            backoff: backoff(vars),
            profile_networks: vars
                .list("DESTINATION_PROFILE_NETWORKS", networks, network)
                .unwrap_or_default()
                .into(),
            profile_suffixes: Suffixes::parse(vars, "DESTINATION_PROFILE_SUFFIXES")
                .unwrap_or_else(|| Suffixes::from_iter(["svc.cluster.local"])),
            addr: addr?,
        })
    }
}

impl Policy {
    pub(super) fn parse(vars: &Vars<'_>) -> Option<Self> {
        let addr = ControlAddr::parse(vars, "POLICY");
        let workload = vars.required(
            "POLICY_WORKLOAD",
            "who this proxy serves, such as {\"ns\":\"default\",\"pod\":\"web-0\"}",
        );
        Some(Self {
            limits: StreamLimits::read(vars),
            backoff: Backoff {
                min: Duration::from_millis(100),
                max: Duration::from_secs(10),
                jitter: 0.1,
            },
            addr: addr?,
            workload: workload?.into(),
        })
    }
}

impl ControlAddr {
    /// From `<service>_SVC_{ADDR,NAME}`.
    pub(super) fn parse(vars: &Vars<'_>, service: &str) -> Option<Self> {
        let (addr, name) = (format!("{service}_SVC_ADDR"), format!("{service}_SVC_NAME"));
        let id = vars.parse(&name, "an identity such as x.ns.serviceaccount…", |text| {
            text.parse::<mesh_tls::Id>().ok()
        });
        vars.required(&addr, "host:port of the control plane")?;
        let (host, port) = vars.parse(&addr, "host:port", host_port)?;
        if id.is_none() && vars.text(&name).is_none() && !is_loopback(&host) {
            vars.mistake(
                &name,
                format!("is required: {host} is not loopback, so its identity must be known"),
            );
        }
        Some(Self {
            host,
            port,
            name: id,
        })
    }
}

impl fmt::Display for ControlAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl StreamLimits {
    fn parse(vars: &Vars<'_>) -> Self {
        let limits = Self::read(vars);
        let ordered = |a: Option<Duration>, b: Option<Duration>| match (a, b) {
            (Some(a), Some(b)) => a <= b,
            _ => true,
        };
        if !ordered(limits.initial, limits.idle) || !ordered(limits.idle, limits.lifetime) {
            vars.mistake(
                "CONTROL_STREAM_INITIAL_TIMEOUT",
                "initial, idle and lifetime limits of streams must not decrease",
            );
        }
        limits
    }

    fn read(vars: &Vars<'_>) -> Self {
        Self {
            initial: vars.duration("CONTROL_STREAM_INITIAL_TIMEOUT"),
            idle: vars.duration("CONTROL_STREAM_IDLE_TIMEOUT"),
            lifetime: vars.duration("CONTROL_STREAM_LIFETIME"),
        }
    }
}

fn backoff(vars: &Vars<'_>) -> Backoff {
    let max = Duration::from_secs(10);
    // What stock proxies use for their control plane is the outbound connect backoff.
    let backoff = Backoff::parse(vars, "OUTBOUND_CONNECT", max);
    Backoff {
        max: backoff.max.min(max),
        ..backoff
    }
}

fn host_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

fn is_loopback(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(ip) => ip.is_loopback(),
        Err(_) => host.trim_end_matches('.').eq_ignore_ascii_case("localhost"),
    }
}
