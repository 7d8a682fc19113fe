//! What the index keeps of a Pod.

use crate::{index::metadata, policy::DefaultPolicy, ports::PortSet};
use k8s_openapi::{api::core::v1 as core, apimachinery::pkg::util::intstr::IntOrString};
use kube::core::ObjectMeta;
use mesh_contract::{annotations, env, labels, names, ports};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

/// Ports on which clients must have an identity whatever the default policy says.
const REQUIRE_IDENTITY: &str = "config.linkerd.io/proxy-require-identity-inbound-ports";
/// Ports that never pass the proxy.
const SKIP_INBOUND: &str = "config.linkerd.io/skip-inbound-ports";

/// A Pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Pod {
    /// Its addresses, once it has them.
    pub(crate) ips: Vec<IpAddr>,
    /// Shares the node's address with others, so that the address does not name it.
    pub(crate) host_network: bool,
    /// Deleted or ended: sends and receives nothing any more.
    pub(crate) gone: bool,
    /// What Servers select by.
    pub(crate) labels: BTreeMap<String, String>,
    /// Who it runs as.
    pub(crate) service_account: Arc<str>,
    /// Its sidecar, if it has one of this control plane.
    pub(crate) sidecar: Option<Sidecar>,
    /// Kind and name of what made it: `("deployment", "web")`.
    pub(crate) owner: Option<(Arc<str>, Arc<str>)>,
    /// Named TCP ports of its containers.
    pub(crate) named_ports: BTreeMap<String, u16>,
    /// Paths the kubelet asks for, by port.
    pub(crate) probes: BTreeMap<u16, BTreeSet<String>>,
    /// The opaque-ports annotation, where there is one.
    pub(crate) opaque_ports: Option<PortSet>,
    /// Ports the sidecar never sees.
    pub(crate) skip_inbound: PortSet,
    /// Ports that demand an identity.
    pub(crate) require_identity: PortSet,
    /// The default-inbound-policy annotation, where there is one.
    pub(crate) default_policy: Option<DefaultPolicy>,
    /// Its sidecar is a gateway.
    pub(crate) gateway: bool,
}

/// A sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sidecar {
    /// Namespace of the control plane it belongs to.
    pub(crate) control_plane_ns: Arc<str>,
    /// Where it takes connections with a transport header.
    pub(crate) inbound_port: u16,
    /// Where it answers /live and /ready.
    pub(crate) admin_port: u16,
}

impl Pod {
    /// Keeps what matters of `pod`.
    pub(crate) fn new(controller_ns: &Arc<str>, pod: &core::Pod) -> Self {
        let meta = &pod.metadata;
        let spec = pod.spec.clone().unwrap_or_default();
        let status = pod.status.clone().unwrap_or_default();
        let named_ports = named_ports(&spec);
        let sidecar = Sidecar::new(controller_ns, meta, &spec);
        let ports = |key| metadata::ports(meta, key, |name| named_ports.get(name).copied());
        let phase = status.phase.as_deref();
        Self {
            ips: pod_ips(&status),
            host_network: spec.host_network.unwrap_or(false),
            gone: meta.deletion_timestamp.is_some()
                || matches!(phase, Some("Succeeded" | "Failed")),
            labels: meta.labels.clone().unwrap_or_default(),
            service_account: service_account(&spec).into(),
            owner: owner(meta),
            probes: probes(&spec, &named_ports, sidecar.as_ref()),
            opaque_ports: ports(annotations::OPAQUE_PORTS),
            skip_inbound: ports(SKIP_INBOUND).unwrap_or_default(),
            require_identity: ports(REQUIRE_IDENTITY).unwrap_or_default(),
            default_policy: metadata::parsed(meta, annotations::DEFAULT_INBOUND_POLICY),
            gateway: sidecar.is_some()
                && metadata::annotation(meta, annotations::ENABLE_GATEWAY) == Some("true"),
            named_ports,
            sidecar,
        }
    }
}

impl Sidecar {
    /// A pod is meshed if it has the proxy's container, be it an ordinary one or a native sidecar.
    /// The label alone does not count: control-plane pods wear it too and have no sidecar.
    fn new(controller_ns: &Arc<str>, meta: &ObjectMeta, spec: &core::PodSpec) -> Option<Self> {
        let proxy = containers(spec).find(|container| container.name == names::PROXY_CONTAINER)?;
        let control_plane_ns = metadata::label(meta, labels::CONTROL_PLANE_NS);
        if control_plane_ns.is_some_and(|ns| ns != &**controller_ns) {
            return None;
        }
        Some(Self {
            control_plane_ns: controller_ns.clone(),
            inbound_port: listen_port(proxy, "INBOUND_LISTEN_ADDR").unwrap_or(ports::INBOUND),
            admin_port: listen_port(proxy, "ADMIN_LISTEN_ADDR").unwrap_or(ports::ADMIN),
        })
    }
}

fn listen_port(proxy: &core::Container, key: &str) -> Option<u16> {
    let name = format!("{}{key}", env::PREFIX);
    let var = proxy.env.iter().flatten().find(|var| var.name == name)?;
    let (_, port) = var.value.as_deref()?.rsplit_once(':')?;
    port.parse().ok().filter(|port| *port != 0)
}

/// Containers that run beside each other: the ordinary ones, and init containers that stay.
fn containers(spec: &core::PodSpec) -> impl Iterator<Item = &core::Container> {
    let stays = |c: &&core::Container| c.restart_policy.as_deref() == Some("Always");
    spec.init_containers
        .iter()
        .flatten()
        .filter(stays)
        .chain(&spec.containers)
}

fn named_ports(spec: &core::PodSpec) -> BTreeMap<String, u16> {
    containers(spec)
        .flat_map(|container| container.ports.iter().flatten())
        .filter(|port| port.protocol.as_deref().is_none_or(|p| p == "TCP"))
        .filter_map(|port| Some((port.name.clone()?, metadata::port(port.container_port)?)))
        .collect()
}

fn pod_ips(status: &core::PodStatus) -> Vec<IpAddr> {
    let mut ips: Vec<IpAddr> = status
        .pod_ips
        .iter()
        .flatten()
        .map(|ip| ip.ip.as_str())
        .chain(status.pod_ip.as_deref())
        .filter_map(|ip| ip.parse().ok())
        .collect();
    ips.sort();
    ips.dedup();
    ips
}

fn service_account(spec: &core::PodSpec) -> &str {
    spec.service_account_name
        .as_deref()
        .filter(|name| !name.is_empty())
        .unwrap_or("default")
}

/// Pods of a Deployment are made by a ReplicaSet named after it and the pod template's hash.
fn owner(meta: &ObjectMeta) -> Option<(Arc<str>, Arc<str>)> {
    let owner = meta
        .owner_references
        .iter()
        .flatten()
        .find(|owner| owner.controller == Some(true))?;
    let hash = metadata::label(meta, "pod-template-hash");
    let deployment = hash
        .filter(|_| owner.kind == "ReplicaSet")
        .and_then(|hash| owner.name.strip_suffix(hash)?.strip_suffix('-'));
    Some(match deployment {
        Some(name) => ("deployment".into(), name.into()),
        None => (
            owner.kind.to_ascii_lowercase().into(),
            owner.name.as_str().into(),
        ),
    })
}

/// Paths the kubelet asks for; nobody can give it an identity.
fn probes(
    spec: &core::PodSpec,
    named: &BTreeMap<String, u16>,
    sidecar: Option<&Sidecar>,
) -> BTreeMap<u16, BTreeSet<String>> {
    let mut probes: BTreeMap<u16, BTreeSet<String>> = BTreeMap::new();
    let gets = containers(spec)
        .flat_map(|c| [&c.liveness_probe, &c.readiness_probe, &c.startup_probe])
        .flatten()
        .filter_map(|probe| probe.http_get.as_ref());
    for get in gets {
        let port = match &get.port {
            IntOrString::Int(number) => metadata::port(*number),
            IntOrString::String(name) => named.get(name).copied().or_else(|| name.parse().ok()),
        };
        let path = get.path.as_deref().unwrap_or("/");
        let path = path.split(['?', '#']).next().unwrap_or("/");
        // A relative path is asked for as an absolute one.
        let path = format!("/{}", path.trim_start_matches('/'));
        if let Some(port) = port {
            probes.entry(port).or_default().insert(path);
        }
    }
    if let Some(sidecar) = sidecar {
        probes
            .entry(sidecar.admin_port)
            .or_default()
            .extend(["/live".to_owned(), "/ready".to_owned()]);
    }
    probes
}
