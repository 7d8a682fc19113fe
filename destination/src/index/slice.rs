//! What the index keeps of an EndpointSlice.

use crate::index::metadata;
use k8s_openapi::api::discovery::v1 as discovery;
use mesh_contract::{annotations, labels};
use std::{net::IpAddr, sync::Arc};

/// An EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slice {
    /// The Service it belongs to.
    pub(crate) service: Arc<str>,
    /// Whose addresses these are.
    pub(crate) origin: Origin,
    /// TCP ports, each on all addresses.
    pub(crate) ports: Vec<SlicePort>,
    /// Addresses.
    pub(crate) endpoints: Vec<SliceEndpoint>,
}

/// Whose addresses a slice holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Of this cluster.
    Local,
    /// Of another cluster's gateway.
    Gateway(Hop),
    /// Of another cluster's pods, over a network both share.
    Pods(Direct),
    /// Of another cluster, but without what is needed to reach it safely. Never used, since
    /// without an identity its traffic would leave in the clear.
    Unusable,
}

/// The way through another cluster's gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hop {
    /// The other cluster, where the slice says.
    pub(crate) cluster: Option<Arc<str>>,
    /// Who the gateway must prove to be.
    pub(crate) identity: Arc<str>,
    /// The Service's name over there.
    pub(crate) name: Arc<str>,
}

/// The way to pods of another cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Direct {
    /// The other cluster, and the Service's name over there, for labels.
    pub(crate) hop: Hop,
    /// Where their sidecars take connections with a transport header.
    pub(crate) inbound_port: u16,
}

/// A port of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SlicePort {
    /// The name of the Service's port.
    pub(crate) name: Arc<str>,
    /// Number on the endpoints; absent means any.
    pub(crate) port: Option<u16>,
}

/// An address, once for each family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SliceEndpoint {
    /// Addresses.
    pub(crate) addresses: Vec<IpAddr>,
    /// May be sent traffic: ready, and not on its way out.
    pub(crate) ready: bool,
    /// Its own name under the Service's.
    pub(crate) hostname: Option<Arc<str>>,
    /// The pod behind it, of the slice's namespace.
    pub(crate) pod: Option<Arc<str>>,
    /// Where it runs.
    pub(crate) zone: Option<Arc<str>>,
}

impl Slice {
    /// Keeps what matters of `slice`; none if it belongs to no Service.
    pub(crate) fn new(slice: &discovery::EndpointSlice) -> Option<Self> {
        let service = metadata::label(&slice.metadata, labels::SERVICE_NAME)?;
        let namespace = slice.metadata.namespace.as_deref();
        Some(Self {
            service: service.into(),
            origin: Origin::new(slice),
            ports: slice
                .ports
                .iter()
                .flatten()
                .filter_map(SlicePort::new)
                .collect(),
            endpoints: slice
                .endpoints
                .iter()
                .map(|endpoint| SliceEndpoint::new(namespace, endpoint))
                .collect(),
        })
    }

    /// The port number behind the Service's port of this name.
    pub(crate) fn port(&self, name: &str, requested: u16) -> Option<u16> {
        let port = self.ports.iter().find(|port| &*port.name == name)?;
        Some(port.port.unwrap_or(requested))
    }

    /// The cluster whose gateway this is, if it says so.
    pub(crate) fn cluster(&self) -> Option<&Arc<str>> {
        match &self.origin {
            Origin::Gateway(hop) => hop.cluster.as_ref(),
            Origin::Local | Origin::Pods(_) | Origin::Unusable => None,
        }
    }
}

impl Origin {
    fn new(slice: &discovery::EndpointSlice) -> Self {
        let meta = &slice.metadata;
        let name = metadata::annotation(meta, annotations::REMOTE_SVC_FQ_NAME);
        let identity = metadata::annotation(meta, annotations::REMOTE_GATEWAY_IDENTITY);
        let cluster = metadata::label(meta, labels::MIRROR_CLUSTER_NAME);
        let pods = metadata::annotation(meta, annotations::REMOTE_POD_IDENTITY);
        if name.is_none() && identity.is_none() && pods.is_none() && cluster.is_none() {
            return Self::Local;
        }
        // Names under a headless mirror, for DNS: what they lead to are Services of their own.
        if name.is_none() && metadata::label(meta, labels::HEADLESS).is_some() {
            return Self::Unusable;
        }
        let valid = |text: Option<&str>| {
            text.map(|text| text.trim_end_matches('.').to_ascii_lowercase())
                .filter(|text| metadata::is_dns_name(text))
                .map(Arc::<str>::from)
        };
        let cluster = cluster.map(Into::into);
        let inbound = metadata::annotation(meta, annotations::REMOTE_POD_INBOUND_PORT);
        let inbound = inbound.and_then(|port| metadata::port(port.parse().ok()?));
        match (valid(name), valid(pods.or(identity)), pods, inbound) {
            (Some(name), Some(identity), None, _) => Self::Gateway(Hop {
                cluster,
                identity,
                name,
            }),
            (Some(name), Some(identity), Some(_), Some(inbound_port)) => Self::Pods(Direct {
                hop: Hop {
                    cluster,
                    identity,
                    name,
                },
                inbound_port,
            }),
            _ => {
                tracing::warn!(
                    namespace = meta.namespace.as_deref().unwrap_or(""),
                    slice = meta.name.as_deref().unwrap_or(""),
                    "not using endpoints of another cluster: the annotations {} and {} (of pods {} \
                     and {}) must say who and where; is the Link complete?",
                    annotations::REMOTE_SVC_FQ_NAME,
                    annotations::REMOTE_GATEWAY_IDENTITY,
                    annotations::REMOTE_POD_IDENTITY,
                    annotations::REMOTE_POD_INBOUND_PORT,
                );
                Self::Unusable
            }
        }
    }
}

impl SlicePort {
    fn new(port: &discovery::EndpointPort) -> Option<Self> {
        let tcp = port.protocol.as_deref().is_none_or(|p| p == "TCP");
        let number = match port.port {
            Some(number) => Some(metadata::port(number)?),
            None => None,
        };
        tcp.then(|| Self {
            name: port.name.as_deref().unwrap_or("").into(),
            port: number,
        })
    }
}

impl SliceEndpoint {
    fn new(namespace: Option<&str>, endpoint: &discovery::Endpoint) -> Self {
        let conditions = endpoint.conditions.clone().unwrap_or_default();
        let pod = endpoint.target_ref.as_ref().filter(|target| {
            let here = target
                .namespace
                .as_deref()
                .is_none_or(|ns| Some(ns) == namespace);
            target.kind.as_deref() == Some("Pod") && here
        });
        Self {
            addresses: endpoint
                .addresses
                .iter()
                .filter_map(|address| address.parse().ok())
                .filter(|ip: &IpAddr| !ip.is_unspecified() && !ip.is_multicast())
                .collect(),
            ready: conditions.ready.unwrap_or(true) && !conditions.terminating.unwrap_or(false),
            hostname: endpoint.hostname.as_deref().map(Into::into),
            pod: pod.and_then(|pod| pod.name.as_deref()).map(Into::into),
            zone: endpoint.zone.as_deref().map(Into::into),
        }
    }
}
