//! What is known of another cluster's exported Services: plain data.

use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt as _;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

/// Namespace and name.
pub type Key = (String, String);

/// A Service another cluster exports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemoteService {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// It has no cluster IP.
    pub headless: bool,
    /// Its revision there.
    pub resource_version: String,
    /// It has at least one endpoint that is ready.
    pub ready: bool,
    /// It is to be mirrored through the gateway.
    pub exported: bool,
    /// It is to be mirrored pod to pod.
    pub remote_discovery: bool,
    /// It joins the federated service of its name.
    pub federated: bool,
    /// Its endpoints that have a name of their own, and whether each is ready.
    pub hosts: BTreeMap<String, bool>,
    /// Its meshed pods, where it is to be mirrored pod to pod.
    pub pods: Pods,
}

/// The meshed pods behind a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Pods {
    /// Not looked at, or not known yet.
    #[default]
    Unknown,
    /// They cannot be read, and why; what was known before stays.
    Unreadable(String),
    /// These.
    Known(BTreeSet<PodGroup>),
}

/// Pods that are reached in the same way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodGroup {
    /// The identity they prove.
    pub identity: String,
    /// Where their sidecars take connections with a transport header.
    pub inbound_port: u16,
    /// Their ports, by the names of the Service's.
    pub ports: Vec<ServicePort>,
    /// Their addresses, and whether each is ready.
    pub addresses: BTreeMap<IpAddr, bool>,
}

/// A port of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServicePort {
    /// Empty for a single nameless port.
    pub name: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// The number clients use.
    pub port: u16,
    /// What the port speaks, where it says so.
    pub app_protocol: Option<String>,
}

/// The exported Services of one cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// By namespace and name.
    pub services: BTreeMap<Key, Arc<RemoteService>>,
    /// Whether Services were listed at least once. Before that, absence says nothing.
    pub synced: bool,
}

/// The plain data of a Service; nothing is selected yet.
pub fn describe(service: &Service) -> RemoteService {
    let spec = service.spec.clone().unwrap_or_default();
    let ports = spec
        .ports
        .unwrap_or_default()
        .into_iter()
        .filter_map(|port| {
            Some(ServicePort {
                name: port.name.unwrap_or_default(),
                protocol: port.protocol.unwrap_or_else(|| "TCP".to_owned()),
                port: u16::try_from(port.port).ok()?,
                app_protocol: port.app_protocol,
            })
        });
    RemoteService {
        namespace: service.namespace().unwrap_or_default(),
        name: service.name_any(),
        labels: service.labels().clone(),
        annotations: service.annotations().clone(),
        ports: ports.collect(),
        headless: spec.cluster_ip.as_deref() == Some("None"),
        resource_version: service.resource_version().unwrap_or_default(),
        ..RemoteService::default()
    }
}
