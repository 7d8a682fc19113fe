//! The gateway of a linked cluster: where it is, and whether it works.

use crate::probe::{Probe, probe};
use mesh_api::link::LinkSpec;
use mesh_daemon::net::Resolver;
use mesh_tls::{Id, Store};
use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};
use tokio::sync::watch;

const DEFAULT_PERIOD: Duration = Duration::from_secs(3);
/// A gateway that is slower than this is no help, whatever the Link allows.
const MAX_TIMEOUT: Duration = Duration::from_secs(2);
const DEFAULT_THRESHOLD: u32 = 3;
const RESOLVE_PERIOD: Duration = Duration::from_secs(30);

/// Whether a gateway answers its probes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Liveness {
    /// No probe has ended yet, or none is asked for. Not a reason to avoid it.
    #[default]
    Unknown,
    /// The last probe was answered.
    Alive,
    /// As many probes in a row as the Link says were not.
    Dead,
}

impl Liveness {
    /// As a condition's status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "Unknown",
            Self::Alive => "True",
            Self::Dead => "False",
        }
    }
}

/// What is known of a gateway.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gateway {
    /// Its addresses; the last ones known while its name does not resolve.
    pub addresses: BTreeSet<IpAddr>,
    /// Its port.
    pub port: u16,
    /// Its identity.
    pub identity: String,
    /// Whether it answers.
    pub liveness: Liveness,
    /// How long the last answer took.
    pub latency: Option<Duration>,
    /// Why the last probe failed.
    pub probe_error: Option<String>,
    /// Why its name does not resolve.
    pub resolve_error: Option<String>,
    /// Probes that were answered, and that were not.
    pub probes: (u64, u64),
}

/// What the Link says of its gateway; none where the Link has none.
#[derive(Clone, Debug)]
pub(crate) struct GatewaySpec {
    hosts: Vec<String>,
    port: u16,
    identity: String,
    period: Duration,
    threshold: u32,
    probe: Option<Probe>,
}

/// Why a Link's gateway cannot be used.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum GatewayError {
    /// No port, or not a port.
    #[error(
        "the Link's gatewayPort is no port (1 to 65535): create it with 'mesh multicluster link'"
    )]
    Port,
    /// No identity, so nobody could be trusted.
    #[error(
        "the Link's gatewayIdentity is missing or no DNS name, so the gateway cannot be trusted"
    )]
    Identity,
}

impl GatewaySpec {
    pub(crate) fn of(link: &LinkSpec) -> Result<Option<Self>, GatewayError> {
        let hosts: Vec<_> = link
            .gateway_address
            .iter()
            .flat_map(|list| list.split(','))
            .map(str::trim)
            .filter(|host| !host.is_empty())
            .map(str::to_owned)
            .collect();
        if hosts.is_empty() {
            return Ok(None);
        }
        let port = link.gateway_port.as_ref().and_then(|port| port.port());
        let port = port.ok_or(GatewayError::Port)?;
        let identity = link.gateway_identity.clone().unwrap_or_default();
        let id = identity.parse().map_err(|_| GatewayError::Identity)?;
        let spec = link.probe_spec.clone().unwrap_or_default();
        let seconds = |period: Option<mesh_api::link::Period>| period.and_then(|p| p.duration());
        let period = seconds(spec.period)
            .filter(|p| !p.is_zero())
            .unwrap_or(DEFAULT_PERIOD);
        let timeout = seconds(spec.timeout)
            .filter(|t| !t.is_zero())
            .unwrap_or(MAX_TIMEOUT);
        let threshold = spec.failure_threshold.as_ref().and_then(|n| n.number());
        let probe = spec
            .path
            .filter(|path| path.starts_with('/'))
            .map(|path| Probe {
                identity: id,
                port: spec
                    .port
                    .as_ref()
                    .and_then(|p| p.port())
                    .unwrap_or(mesh_contract::ports::ADMIN),
                path,
                timeout: timeout.min(MAX_TIMEOUT),
            });
        Ok(Some(Self {
            hosts,
            port,
            identity,
            period,
            threshold: threshold
                .and_then(|n| u32::try_from(n).ok())
                .unwrap_or(DEFAULT_THRESHOLD)
                .max(1),
            probe,
        }))
    }
}

/// Where a gateway is, as its Link says and its names resolve.
#[derive(Clone, Debug)]
pub struct Located {
    /// Where traffic goes.
    pub addresses: BTreeSet<SocketAddr>,
    /// The identity it must prove.
    pub identity: Id,
    /// Names that do not resolve, and why.
    pub unresolved: Vec<String>,
}

/// Looks up where the gateway of `link` is; none where the Link has no gateway.
pub async fn locate(link: &LinkSpec, resolver: &Resolver) -> Result<Option<Located>, GatewayError> {
    let Some(spec) = GatewaySpec::of(link)? else {
        return Ok(None);
    };
    let identity = spec.identity.parse().map_err(|_| GatewayError::Identity)?;
    let (addresses, unresolved) = lookup(&spec, resolver).await;
    Ok(Some(Located {
        addresses: addresses
            .into_iter()
            .map(|ip| SocketAddr::new(ip, spec.port))
            .collect(),
        identity,
        unresolved,
    }))
}

/// Resolves and probes the gateway until dropped, publishing what is found.
pub(crate) async fn follow(
    spec: GatewaySpec,
    store: Store,
    resolver: Resolver,
    state: watch::Sender<Gateway>,
) {
    state.send_modify(|gateway| {
        gateway.port = spec.port;
        gateway.identity = spec.identity.clone();
    });
    let mut failures = 0;
    let mut resolved: Option<Instant> = None;
    loop {
        let known = !state.borrow().addresses.is_empty();
        if !known || resolved.is_none_or(|at| at.elapsed() >= RESOLVE_PERIOD) {
            resolve(&spec, &resolver, &state).await;
            resolved = Some(Instant::now());
        }
        // Without a certificate of our own nothing can be learnt of theirs.
        if let Some(probe) = spec.probe.as_ref().filter(|_| store.is_ready()) {
            let addresses = state.borrow().addresses.clone();
            let outcome = probe_all(&store, &addresses, spec.port, probe).await;
            failures = if outcome.is_ok() { 0 } else { failures + 1 };
            let dead = failures >= spec.threshold;
            state.send_modify(|gateway| record(gateway, outcome, dead));
        }
        let uncertified = !store.is_ready();
        tokio::select! {
            () = tokio::time::sleep(jittered(spec.period)) => {}
            () = store.ready(), if uncertified => {}
        }
    }
}

/// What the gateway's names resolve to, and why some do not.
async fn lookup(spec: &GatewaySpec, resolver: &Resolver) -> (BTreeSet<IpAddr>, Vec<String>) {
    let mut addresses = BTreeSet::new();
    let mut errors = Vec::new();
    for host in &spec.hosts {
        match resolver.resolve(host).await {
            Ok(found) => addresses.extend(found),
            Err(error) => errors.push(format!("{host}: {error}")),
        }
    }
    (addresses, errors)
}

async fn resolve(spec: &GatewaySpec, resolver: &Resolver, state: &watch::Sender<Gateway>) {
    let (addresses, errors) = lookup(spec, resolver).await;
    state.send_if_modified(|gateway| {
        let before = gateway.clone();
        // Silence of the DNS is no reason to forget an address.
        if !addresses.is_empty() {
            gateway.addresses = addresses;
        }
        gateway.resolve_error = (!errors.is_empty()).then(|| errors.join("; "));
        *gateway != before
    });
}

/// Alive while any of the addresses answers: that one carries the traffic.
async fn probe_all(
    store: &Store,
    addresses: &BTreeSet<IpAddr>,
    port: u16,
    spec: &Probe,
) -> Result<Duration, String> {
    let probes = addresses
        .iter()
        .map(|ip| probe(store, SocketAddr::new(*ip, port), spec));
    let outcomes = futures::future::join_all(probes).await;
    let mut errors = Vec::new();
    let mut best: Option<Duration> = None;
    for outcome in outcomes {
        match outcome {
            Ok(latency) => best = Some(best.map_or(latency, |b| b.min(latency))),
            Err(error) => errors.push(error),
        }
    }
    best.ok_or_else(|| {
        if errors.is_empty() {
            "no address is known".to_owned()
        } else {
            errors.join("; ")
        }
    })
}

fn record(gateway: &mut Gateway, outcome: Result<Duration, String>, dead: bool) {
    match outcome {
        Ok(latency) => {
            gateway.liveness = Liveness::Alive;
            gateway.latency = Some(latency);
            gateway.probe_error = None;
            gateway.probes.0 += 1;
        }
        Err(error) => {
            if dead {
                gateway.liveness = Liveness::Dead;
            }
            gateway.probe_error = Some(error);
            gateway.probes.1 += 1;
        }
    }
}

/// Up to a tenth more, so that many Links do not probe in step.
fn jittered(period: Duration) -> Duration {
    period + period.mul_f64(rand::random::<f64>() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spec(link: serde_json::Value) -> Result<Option<GatewaySpec>, GatewayError> {
        GatewaySpec::of(&serde_json::from_value(link).unwrap())
    }

    #[test]
    fn a_link_without_an_address_has_no_gateway() {
        assert!(spec(json!({})).unwrap().is_none());
        assert!(spec(json!({"gatewayAddress": " , "})).unwrap().is_none());
    }

    #[test]
    fn a_gateway_that_cannot_be_reached_or_trusted_is_refused() {
        let port = json!({"gatewayAddress": "1.2.3.4", "gatewayPort": "0"});
        assert_eq!(spec(port).map(drop), Err(GatewayError::Port));
        let identity = json!({"gatewayAddress": "1.2.3.4", "gatewayPort": "4143"});
        assert_eq!(spec(identity).map(drop), Err(GatewayError::Identity));
    }

    #[test]
    fn a_gateway_is_dead_after_as_many_failures_as_the_link_says_and_alive_after_one_success() {
        let mut gateway = Gateway::default();
        record(&mut gateway, Err("no".into()), false);
        assert_eq!(gateway.liveness, Liveness::Unknown);
        record(&mut gateway, Err("no".into()), true);
        assert_eq!(gateway.liveness, Liveness::Dead);
        record(&mut gateway, Ok(Duration::from_millis(1)), false);
        assert_eq!(
            (gateway.liveness, gateway.probe_error),
            (Liveness::Alive, None)
        );
    }

    #[tokio::test]
    async fn a_name_that_stops_resolving_keeps_its_last_addresses() {
        let hosts = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(hosts.path(), "127.0.0.9 gateway.test\n").unwrap();
        let link = json!({
            "gatewayAddress": "gateway.test", "gatewayPort": 4143, "gatewayIdentity": "gw.test",
        });
        let mut spec = spec(link).unwrap().unwrap();
        let state = watch::Sender::new(Gateway::default());
        let resolver = Resolver::new(Some(hosts.path().to_path_buf()));
        resolve(&spec, &resolver, &state).await;
        assert_eq!(state.borrow().addresses.len(), 1);
        spec.hosts = vec!["gone.invalid.".into()];
        resolve(&spec, &resolver, &state).await;
        assert_eq!(state.borrow().addresses.len(), 1);
        assert!(
            state
                .borrow()
                .resolve_error
                .as_ref()
                .unwrap()
                .contains("gone.invalid")
        );
    }
}
