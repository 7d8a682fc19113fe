//! Services and EndpointSlices as they should be, and as the API has them.

use k8s_openapi::{
    api::{
        core::v1::{Service, ServicePort as ApiServicePort, ServiceSpec},
        discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice},
    },
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};
use mesh_clusters::{Gateway, Liveness, PodGroup, RemoteService, ServicePort, snapshot::Key};
use mesh_contract::{annotations, labels, names};
use std::{collections::BTreeMap, net::IpAddr};

/// A Service the mirror should have written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DesiredService {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// It has no cluster IP: its name stands for its endpoints.
    pub headless: bool,
}

/// An EndpointSlice the mirror should have written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DesiredSlice {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// Its endpoints, of one family.
    pub endpoints: BTreeMap<IpAddr, DesiredEndpoint>,
    /// Names, protocols, and the numbers at the endpoints.
    pub ports: Vec<ServicePort>,
}

/// An endpoint of a slice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DesiredEndpoint {
    /// Whether to send traffic there.
    pub ready: bool,
    /// A name of its own under the Service's.
    pub hostname: Option<String>,
}

/// The Service a slice speaks for, and the cluster it comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner<'a> {
    pub(super) namespace: &'a str,
    pub(super) service: &'a str,
    pub(super) cluster: &'a str,
}

/// The slices that stand for `service` behind a gateway: one an address family.
pub(super) fn slices(
    owner: Owner<'_>,
    slice_name: &str,
    fq_name: &str,
    service: &RemoteService,
    gateway: &Gateway,
) -> Vec<(Key, DesiredSlice)> {
    let ready = service.ready && gateway.liveness != Liveness::Dead;
    let slice = DesiredSlice {
        labels: slice_labels(owner),
        annotations: map_of(&[
            (annotations::REMOTE_SVC_FQ_NAME, fq_name),
            (annotations::REMOTE_GATEWAY_IDENTITY, &gateway.identity),
        ]),
        endpoints: BTreeMap::new(),
        ports: tcp(&service.ports)
            .map(|port| ServicePort {
                port: gateway.port,
                ..port.clone()
            })
            .collect(),
    };
    let endpoint = |ip: &IpAddr| {
        let endpoint = DesiredEndpoint {
            ready,
            hostname: None,
        };
        (*ip, endpoint)
    };
    let endpoints = gateway.addresses.iter().map(endpoint);
    by_family(owner, slice_name, &slice, endpoints)
}

/// The slices that stand for pods of another cluster: one an address family.
pub(super) fn pod_slices(
    owner: Owner<'_>,
    slice_name: &str,
    fq_name: &str,
    group: &PodGroup,
) -> Vec<(Key, DesiredSlice)> {
    let slice = DesiredSlice {
        labels: slice_labels(owner),
        annotations: map_of(&[
            (annotations::REMOTE_SVC_FQ_NAME, fq_name),
            (annotations::REMOTE_POD_IDENTITY, &group.identity),
            (
                annotations::REMOTE_POD_INBOUND_PORT,
                &group.inbound_port.to_string(),
            ),
        ]),
        endpoints: BTreeMap::new(),
        ports: tcp(&group.ports).cloned().collect(),
    };
    let endpoints = group.addresses.iter().map(|(ip, ready)| {
        let endpoint = DesiredEndpoint {
            ready: *ready,
            hostname: None,
        };
        (*ip, endpoint)
    });
    by_family(owner, slice_name, &slice, endpoints)
}

/// The slices that give the names under a headless mirror their addresses. For DNS alone: what is
/// sent there is the business of the Services that have these addresses.
pub(super) fn name_slices(
    owner: Owner<'_>,
    ports: &[ServicePort],
    hosts: impl Iterator<Item = (String, IpAddr)>,
) -> Vec<(Key, DesiredSlice)> {
    let mut labels = slice_labels(owner);
    labels.insert(labels::HEADLESS.to_owned(), String::new());
    let slice = DesiredSlice {
        labels,
        annotations: BTreeMap::new(),
        endpoints: BTreeMap::new(),
        ports: tcp(ports).cloned().collect(),
    };
    let endpoints = hosts.map(|(hostname, ip)| {
        let endpoint = DesiredEndpoint {
            ready: true,
            hostname: Some(hostname),
        };
        (ip, endpoint)
    });
    by_family(owner, owner.service, &slice, endpoints)
}

/// `slice` with those of `endpoints` that are of one family, for each.
fn by_family(
    owner: Owner<'_>,
    name: &str,
    slice: &DesiredSlice,
    endpoints: impl Iterator<Item = (IpAddr, DesiredEndpoint)>,
) -> Vec<(Key, DesiredSlice)> {
    let (v4, v6): (BTreeMap<_, _>, BTreeMap<_, _>) = endpoints.partition(|(ip, _)| ip.is_ipv4());
    [(v4, name.to_owned()), (v6, format!("{name}-ipv6"))]
        .into_iter()
        .filter(|(endpoints, _)| !endpoints.is_empty())
        .map(|(endpoints, name)| {
            let slice = DesiredSlice {
                endpoints,
                ..slice.clone()
            };
            ((owner.namespace.to_owned(), name), slice)
        })
        .collect()
}

fn slice_labels(owner: Owner<'_>) -> BTreeMap<String, String> {
    map_of(&[
        (labels::SERVICE_NAME, owner.service),
        (labels::SLICE_MANAGED_BY, names::SLICE_MANAGER),
        (labels::MIRRORED_SERVICE, "true"),
        (labels::MIRROR_CLUSTER_NAME, owner.cluster),
    ])
}

fn map_of(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let pairs = pairs.iter();
    pairs
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn tcp(ports: &[ServicePort]) -> impl Iterator<Item = &ServicePort> {
    ports.iter().filter(|port| port.protocol == "TCP")
}

/// Whether a Service has no cluster IP by its own choice.
pub(super) fn is_headless(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    spec.and_then(|spec| spec.cluster_ip.as_deref()) == Some("None")
}

impl DesiredService {
    /// A new Service.
    pub(crate) fn create(&self, (namespace, name): &Key) -> Service {
        Service {
            metadata: metadata(namespace, name, &self.labels, &self.annotations),
            spec: Some(ServiceSpec {
                ports: Some(self.api_ports()),
                cluster_ip: self.headless.then(|| "None".to_owned()),
                ..ServiceSpec::default()
            }),
            status: None,
        }
    }

    /// `current`, changed to what it should be. What the API server chose stays.
    pub(crate) fn replace(&self, current: &Service) -> Service {
        let mut service = current.clone();
        service.metadata.labels = Some(self.labels.clone());
        service.metadata.annotations = Some(self.annotations.clone());
        service.spec.get_or_insert_default().ports = Some(self.api_ports());
        service
    }

    /// Whether `current` is what it should be.
    pub(crate) fn is(&self, current: &Service) -> bool {
        let ports = mesh_clusters::snapshot::describe(current).ports;
        current.metadata.labels.as_ref() == Some(&self.labels)
            && current.metadata.annotations.as_ref() == Some(&self.annotations)
            && ports == self.ports
            && is_headless(current) == self.headless
    }

    fn api_ports(&self) -> Vec<ApiServicePort> {
        let ports = self.ports.iter().map(|port| ApiServicePort {
            name: Some(port.name.clone()).filter(|name| !name.is_empty()),
            protocol: Some(port.protocol.clone()),
            port: i32::from(port.port),
            target_port: Some(IntOrString::Int(i32::from(port.port))),
            app_protocol: port.app_protocol.clone(),
            ..ApiServicePort::default()
        });
        ports.collect()
    }
}

impl DesiredSlice {
    /// The Service it speaks for.
    pub(super) fn service(&self) -> Option<&str> {
        self.labels.get(labels::SERVICE_NAME).map(String::as_str)
    }

    /// The whole slice; of an existing one only its identity is kept.
    pub(crate) fn render(
        &self,
        (namespace, name): &Key,
        current: Option<&EndpointSlice>,
    ) -> EndpointSlice {
        let mut metadata = metadata(namespace, name, &self.labels, &self.annotations);
        if let Some(current) = current {
            metadata.uid.clone_from(&current.metadata.uid);
            metadata
                .resource_version
                .clone_from(&current.metadata.resource_version);
        }
        let is_v6 = self.endpoints.keys().any(IpAddr::is_ipv6);
        EndpointSlice {
            metadata,
            address_type: if is_v6 { "IPv6" } else { "IPv4" }.to_owned(),
            endpoints: self.endpoints.iter().map(api_endpoint).collect(),
            ports: Some(self.ports.iter().map(endpoint_port).collect()),
        }
    }

    /// Whether `current` is what it should be.
    pub(crate) fn is(&self, key: &Key, current: &EndpointSlice) -> bool {
        let wanted = self.render(key, None);
        current.metadata.labels == wanted.metadata.labels
            && current.metadata.annotations == wanted.metadata.annotations
            && current.address_type == wanted.address_type
            && current.endpoints == wanted.endpoints
            && current.ports == wanted.ports
    }
}

fn api_endpoint((ip, endpoint): (&IpAddr, &DesiredEndpoint)) -> Endpoint {
    Endpoint {
        addresses: vec![ip.to_string()],
        conditions: Some(EndpointConditions {
            ready: Some(endpoint.ready),
            ..EndpointConditions::default()
        }),
        hostname: endpoint.hostname.clone(),
        ..Endpoint::default()
    }
}

fn endpoint_port(port: &ServicePort) -> EndpointPort {
    EndpointPort {
        name: Some(port.name.clone()),
        protocol: Some(port.protocol.clone()),
        port: Some(i32::from(port.port)),
        app_protocol: port.app_protocol.clone(),
    }
}

fn metadata(
    namespace: &str,
    name: &str,
    labels: &BTreeMap<String, String>,
    annotations: &BTreeMap<String, String>,
) -> ObjectMeta {
    ObjectMeta {
        namespace: Some(namespace.to_owned()),
        name: Some(name.to_owned()),
        labels: Some(labels.clone()),
        annotations: Some(annotations.clone()),
        ..ObjectMeta::default()
    }
}
