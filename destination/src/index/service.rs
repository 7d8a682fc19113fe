//! What the index keeps of a Service.

use crate::{config::Config, index::metadata, ports::PortSet};
use k8s_openapi::api::core::v1 as core;
use mesh_contract::{annotations, labels};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    str::FromStr,
    sync::Arc,
    time::Duration,
};

/// A Service.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Service {
    /// Virtual addresses; none for a headless Service.
    pub(crate) cluster_ips: Vec<IpAddr>,
    /// Its TCP ports.
    pub(crate) ports: Vec<ServicePort>,
    /// The opaque-ports annotation, where there is one.
    pub(crate) opaque_ports: Option<PortSet>,
    /// Whether the gateway may reach it: labelled so, and of this cluster.
    pub(crate) exported: bool,
    /// The identity of the gateway behind it, if it is a gateway's Service.
    pub(crate) gateway_identity: Option<Arc<str>>,
    /// How long that gateway believes what it knows of exports without hearing more.
    pub(crate) export_lease: Option<Duration>,
    /// Where its members are, if it is federated.
    pub(crate) federation: Option<Federation>,
}

/// A lease, as an annotation has it.
struct Lease(Duration);

impl FromStr for Lease {
    type Err = String;

    /// Shorter ones would end with every restart of destination.
    fn from_str(text: &str) -> Result<Self, String> {
        let lease = mesh_daemon::args::duration(text)?;
        match (SHORTEST_LEASE..=LONGEST_LEASE).contains(&lease) {
            true => Ok(Self(lease)),
            false => Err(format!(
                "a lease must last from {SHORTEST_LEASE:?} to {LONGEST_LEASE:?}"
            )),
        }
    }
}

const SHORTEST_LEASE: Duration = Duration::from_secs(10);
const LONGEST_LEASE: Duration = Duration::from_secs(7 * 24 * 3600);

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServicePort {
    /// Name, empty where unnamed; EndpointSlices repeat it.
    pub(crate) name: Arc<str>,
    /// Number.
    pub(crate) port: u16,
    /// What it declares to speak.
    pub(crate) app_protocol: Option<Arc<str>>,
}

/// The members of a federated Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Federation {
    /// The member of this cluster, a Service of the same namespace.
    pub(crate) local: Option<Arc<str>>,
    /// The other member clusters. A member stays here while its cluster is down.
    pub(crate) clusters: BTreeSet<Arc<str>>,
}

impl Service {
    /// Keeps what matters of `service`.
    pub(crate) fn new(config: &Config, service: &core::Service) -> Self {
        let spec = service.spec.clone().unwrap_or_default();
        let labels = service.metadata.labels.clone().unwrap_or_default();
        let annotations = service.metadata.annotations.clone().unwrap_or_default();
        let federation = Federation::new(&annotations);
        // What came from another cluster is not ours to hand on: a gateway is no transit.
        let imported =
            federation.is_some() || metadata::is(&labels, labels::MIRRORED_SERVICE, "true");
        let ports: Vec<_> = spec
            .ports
            .iter()
            .flatten()
            .filter_map(ServicePort::new)
            .collect();
        let named = |name: &str| ports.iter().find(|p| &*p.name == name).map(|p| p.port);
        Self {
            cluster_ips: cluster_ips(&spec),
            opaque_ports: metadata::ports(&service.metadata, annotations::OPAQUE_PORTS, named),
            exported: !imported && config.exports(&labels),
            gateway_identity: gateway_identity(config, service, &annotations),
            export_lease: metadata::parsed::<Lease>(&service.metadata, annotations::EXPORT_LEASE)
                .map(|Lease(lease)| lease),
            federation,
            ports,
        }
    }

    /// The port with this number.
    pub(crate) fn port(&self, number: u16) -> Option<&ServicePort> {
        self.ports.iter().find(|port| port.port == number)
    }
}

impl ServicePort {
    fn new(port: &core::ServicePort) -> Option<Self> {
        let tcp = port.protocol.as_deref().is_none_or(|p| p == "TCP");
        Some(Self {
            name: port.name.as_deref().unwrap_or("").into(),
            port: metadata::port(port.port).filter(|_| tcp)?,
            app_protocol: port.app_protocol.as_deref().map(Into::into),
        })
    }
}

impl Federation {
    fn new(annotations: &BTreeMap<String, String>) -> Option<Self> {
        let value = |key| {
            annotations
                .get(key)
                .map(|value: &String| value.trim())
                .filter(|value| !value.is_empty())
        };
        // Both become labels of DNS names that proxies ask for.
        let local = value(annotations::LOCAL_DISCOVERY)
            .filter(|name| metadata::is_dns_label(name))
            .map(Arc::from);
        let clusters: BTreeSet<Arc<str>> = value(annotations::REMOTE_DISCOVERY)
            .into_iter()
            .flat_map(|members| members.split(','))
            .filter_map(|member| member.trim().split_once('@'))
            .map(|(_, cluster)| cluster)
            .filter(|cluster| metadata::is_dns_label(cluster))
            .map(Arc::from)
            .collect();
        (local.is_some() || !clusters.is_empty()).then_some(Self { local, clusters })
    }
}

fn cluster_ips(spec: &core::ServiceSpec) -> Vec<IpAddr> {
    let mut ips: Vec<IpAddr> = spec
        .cluster_ips
        .iter()
        .flatten()
        .chain(&spec.cluster_ip)
        .filter_map(|ip| ip.parse().ok())
        .collect();
    ips.sort();
    ips.dedup();
    ips
}

/// Being a gateway takes rights away, so a Service can make one of its own namespace's
/// ServiceAccounts only: else whoever may write a Service could take discovery from anybody.
fn gateway_identity(
    config: &Config,
    service: &core::Service,
    annotations: &BTreeMap<String, String>,
) -> Option<Arc<str>> {
    let identity = metadata::is(annotations, annotations::MULTICLUSTER_GATEWAY, "true")
        .then(|| annotations.get(annotations::GATEWAY_IDENTITY))
        .flatten()
        .map(|identity| identity.trim().trim_end_matches('.').to_ascii_lowercase())
        .filter(|identity| !identity.is_empty())?;
    let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
    let own = config.identity("", namespace);
    if identity.len() > own.len() && identity.ends_with(&*own) {
        return Some(identity.into());
    }
    tracing::warn!(
        namespace,
        service = service.metadata.name.as_deref().unwrap_or_default(),
        identity,
        "ignoring the annotation {}: it must name a ServiceAccount of the Service's own namespace, as NAME{own}",
        annotations::GATEWAY_IDENTITY,
    );
    None
}
