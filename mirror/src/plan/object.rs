//! Services and EndpointSlices as they should be, and as the API has them.

use k8s_openapi::{
    api::{
        core::v1::{Service, ServicePort as ApiServicePort, ServiceSpec},
        discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice},
    },
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};
use mesh_clusters::{Gateway, Liveness, RemoteService, ServicePort, snapshot::Key};
use mesh_contract::{annotations, labels, names};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// A Service the mirror should have written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DesiredService {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
}

/// An EndpointSlice the mirror should have written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DesiredSlice {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// Addresses of the gateway, of one family.
    pub addresses: BTreeSet<IpAddr>,
    /// Whether to send traffic there.
    pub ready: bool,
    /// Names, protocols and numbers; the number is the gateway's.
    pub ports: Vec<ServicePort>,
}

/// The slices that stand for `service` behind a gateway: one an address family.
pub(super) fn slices(
    service_name: &str,
    slice_name: &str,
    cluster: &str,
    fq_name: &str,
    service: &RemoteService,
    gateway: &Gateway,
) -> Vec<(Key, DesiredSlice)> {
    let labels = BTreeMap::from(
        [
            (labels::SERVICE_NAME, service_name),
            (labels::SLICE_MANAGED_BY, names::SLICE_MANAGER),
            (labels::MIRRORED_SERVICE, "true"),
            (labels::MIRROR_CLUSTER_NAME, cluster),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned())),
    );
    let annotations = BTreeMap::from([
        (
            annotations::REMOTE_SVC_FQ_NAME.to_owned(),
            fq_name.to_owned(),
        ),
        (
            annotations::REMOTE_GATEWAY_IDENTITY.to_owned(),
            gateway.identity.clone(),
        ),
    ]);
    let ports = service.ports.iter().filter(|port| port.protocol == "TCP");
    let ports: Vec<_> = ports
        .map(|port| ServicePort {
            port: gateway.port,
            ..port.clone()
        })
        .collect();
    let (v4, v6): (BTreeSet<IpAddr>, _) = gateway.addresses.iter().partition(|ip| ip.is_ipv4());
    [
        (v4, slice_name.to_owned()),
        (v6, format!("{slice_name}-ipv6")),
    ]
    .into_iter()
    .filter(|(addresses, _)| !addresses.is_empty())
    .map(|(addresses, name)| {
        let slice = DesiredSlice {
            labels: labels.clone(),
            annotations: annotations.clone(),
            addresses,
            ready: service.ready && gateway.liveness != Liveness::Dead,
            ports: ports.clone(),
        };
        ((service.namespace.clone(), name), slice)
    })
    .collect()
}

impl DesiredService {
    /// A new Service.
    pub(crate) fn create(&self, (namespace, name): &Key) -> Service {
        Service {
            metadata: metadata(namespace, name, &self.labels, &self.annotations),
            spec: Some(ServiceSpec {
                ports: Some(self.api_ports()),
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
        let is_v6 = self.addresses.iter().any(IpAddr::is_ipv6);
        EndpointSlice {
            metadata,
            address_type: if is_v6 { "IPv6" } else { "IPv4" }.to_owned(),
            endpoints: self.addresses.iter().map(|ip| self.endpoint(*ip)).collect(),
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

    fn endpoint(&self, ip: IpAddr) -> Endpoint {
        Endpoint {
            addresses: vec![ip.to_string()],
            conditions: Some(EndpointConditions {
                ready: Some(self.ready),
                ..EndpointConditions::default()
            }),
            ..Endpoint::default()
        }
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
