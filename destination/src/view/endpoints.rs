//! The endpoints behind a name: local pods, and other clusters' gateways.

use super::{Audience, Protocol, name::Host, protocol::pod_port_is_opaque};
use crate::index::{
    Direct, Federation, Hop, ObjectRef, Origin, Pod, Reader, Service, ServicePort, Slice,
    SliceEndpoint, metadata,
};
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

/// Labels proxies put on metrics, prefixed `dst_`.
pub(crate) type Labels = BTreeMap<Arc<str>, Arc<str>>;

/// A question about endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct EndpointsKey {
    /// Who asks.
    pub(crate) audience: Audience,
    /// Whose.
    pub(crate) host: Host,
    /// A port of the Service.
    pub(crate) port: u16,
}

/// Endpoints of a Service that exists; perhaps none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Endpoints {
    /// Labels of them all.
    pub(crate) labels: Labels,
    /// Endpoints.
    pub(crate) addresses: BTreeMap<SocketAddr, Endpoint>,
}

/// How to reach one endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Who must answer there; without one the connection is in the clear.
    pub(crate) identity: Option<Arc<str>>,
    /// What is known of its protocol.
    pub(crate) hint: Hint,
    /// Where its sidecar takes a transport header.
    pub(crate) inbound_port: Option<u16>,
    /// What to ask a gateway for: `name:port` over there.
    pub(crate) authority: Option<Arc<str>>,
    /// Its own labels.
    pub(crate) labels: Labels,
    /// The pod.
    pub(crate) pod: Option<ObjectRef>,
}

/// What is known of an endpoint's protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Hint {
    /// Nothing.
    #[default]
    Unknown,
    /// Its sidecar takes HTTP/1 carried in HTTP/2.
    H2,
    /// Bytes, no HTTP.
    Opaque,
}

/// The endpoints behind `key`; none if the asker may not know of such a Service.
pub(crate) fn endpoints(reader: &Reader<'_>, key: &EndpointsKey) -> Option<Endpoints> {
    let EndpointsKey {
        audience,
        host,
        port,
    } = key;
    let service = reader.service(&host.service)?;
    if !audience.sees(service, *port) {
        return None;
    }
    let mut found = Finder {
        reader,
        audience: *audience,
        endpoints: Endpoints {
            labels: service_labels(&host.service),
            ..Endpoints::default()
        },
    };
    match (&service.federation, &host.member) {
        (None, hostname) => found.own(&host.service, service, *port, hostname.as_ref()),
        (Some(federation), None) => found.union(&host.service, service, federation, *port),
        (Some(federation), Some(cluster)) => {
            // A member stays known while its cluster is down: silence never means it left.
            federation.clusters.get(cluster)?;
            found.members(&host.service, service, *port, |other| other == cluster);
        }
    }
    Some(found.endpoints)
}

/// The endpoint that is a pod's port.
pub(super) fn pod_endpoint(reader: &Reader<'_>, key: &ObjectRef, pod: &Pod, port: u16) -> Endpoint {
    let sidecar = pod
        .sidecar
        .as_ref()
        .filter(|_| !pod.skip_inbound.contains(port));
    let hint = match sidecar {
        None => Hint::Unknown,
        Some(_) if pod_port_is_opaque(reader, &key.namespace, pod, port) => Hint::Opaque,
        Some(_) => Hint::H2,
    };
    Endpoint {
        identity: sidecar.map(|_| reader.config.identity(&pod.service_account, &key.namespace)),
        hint,
        inbound_port: sidecar.map(|sidecar| sidecar.inbound_port),
        authority: None,
        labels: pod_labels(key, pod),
        pod: Some(key.clone()),
    }
}

struct Finder<'r, 'a> {
    reader: &'r Reader<'a>,
    audience: Audience,
    endpoints: Endpoints,
}

impl Finder<'_, '_> {
    /// Of an ordinary or a mirror Service.
    fn own(&mut self, key: &ObjectRef, service: &Service, port: u16, hostname: Option<&Arc<str>>) {
        let Some(service_port) = service.port(port) else {
            return;
        };
        for slice in self.reader.slices(key) {
            match &slice.origin {
                Origin::Local => self.local(&key.namespace, slice, service_port, hostname),
                Origin::Gateway(hop) => self.gateway(slice, hop, service_port),
                Origin::Pods(direct) => self.pods((key, service), slice, direct, service_port),
                Origin::Unusable => {}
            }
        }
    }

    /// Of all members of a federated Service, the local one included.
    fn union(&mut self, key: &ObjectRef, service: &Service, federation: &Federation, port: u16) {
        if let Some(member) = &federation.local {
            let member = ObjectRef::new(key.namespace.clone(), member.clone());
            let service = self.reader.service(&member);
            if let Some(service_port) = service.and_then(|service| service.port(port)) {
                let slices = self.reader.slices(&member);
                for slice in slices.filter(|slice| slice.origin == Origin::Local) {
                    self.local(&key.namespace, slice, service_port, None);
                }
            }
        }
        self.members(key, service, port, |cluster| {
            federation.clusters.contains(cluster)
        });
    }

    /// Of the members of a federated Service in some other clusters.
    fn members(
        &mut self,
        key: &ObjectRef,
        service: &Service,
        port: u16,
        wanted: impl Fn(&Arc<str>) -> bool,
    ) {
        let Some(service_port) = service.port(port) else {
            return;
        };
        for slice in self.reader.slices(key) {
            if let Origin::Gateway(hop) = &slice.origin
                && slice.cluster().is_some_and(&wanted)
            {
                self.gateway(slice, hop, service_port);
            }
        }
    }

    fn local(
        &mut self,
        namespace: &Arc<str>,
        slice: &Slice,
        service_port: &ServicePort,
        hostname: Option<&Arc<str>>,
    ) {
        let Some(port) = slice.port(&service_port.name, service_port.port) else {
            return;
        };
        let wanted =
            |e: &&SliceEndpoint| e.ready && (hostname.is_none() || e.hostname.as_ref() == hostname);
        for endpoint in slice.endpoints.iter().filter(wanted) {
            for ip in &endpoint.addresses {
                if let Some(found) = self.local_endpoint(namespace, endpoint, *ip, port) {
                    self.add(SocketAddr::new(*ip, port), found);
                }
            }
        }
    }

    /// A pod is used only once it is known: until then nobody can say who must answer there, and
    /// guessing would send in the clear. An address that is no pod's is nothing for a gateway.
    fn local_endpoint(
        &self,
        namespace: &Arc<str>,
        endpoint: &SliceEndpoint,
        ip: IpAddr,
        port: u16,
    ) -> Option<Endpoint> {
        let mut found = match &endpoint.pod {
            Some(name) => {
                let key = ObjectRef::new(namespace.clone(), name.clone());
                let pod = self.reader.pod(&key).filter(|pod| pod.ips.contains(&ip))?;
                if self.audience == Audience::Gateway && pod.gateway {
                    return None;
                }
                pod_endpoint(self.reader, &key, pod, port)
            }
            None if self.audience == Audience::Gateway => return None,
            None => Endpoint::default(),
        };
        if let Some(zone) = &endpoint.zone {
            found.labels.insert("zone".into(), label(zone));
        }
        Some(found)
    }

    /// Another cluster's gateway; never for our own, which would make us a transit.
    fn gateway(&mut self, slice: &Slice, hop: &Hop, service_port: &ServicePort) {
        let port = slice.port(&service_port.name, service_port.port);
        let Some(port) = port.filter(|_| self.audience == Audience::Mesh) else {
            return;
        };
        let endpoint = Endpoint {
            identity: Some(hop.identity.clone()),
            hint: Hint::H2,
            inbound_port: None,
            authority: Some(format!("{}:{}", hop.name, service_port.port).into()),
            labels: hop_labels(hop),
            pod: None,
        };
        for ready in slice.endpoints.iter().filter(|endpoint| endpoint.ready) {
            for ip in &ready.addresses {
                self.add(SocketAddr::new(*ip, port), endpoint.clone());
            }
        }
    }

    /// Pods of another cluster; never for our gateway, which would make us a transit.
    fn pods(
        &mut self,
        (key, service): (&ObjectRef, &Service),
        slice: &Slice,
        direct: &Direct,
        service_port: &ServicePort,
    ) {
        let port = slice.port(&service_port.name, service_port.port);
        let Some(port) = port.filter(|_| self.audience == Audience::Mesh) else {
            return;
        };
        let protocol = Protocol::of_service(self.reader, key, service, service_port.port);
        let endpoint = Endpoint {
            identity: Some(direct.hop.identity.clone()),
            hint: match protocol {
                Protocol::Opaque => Hint::Opaque,
                _ => Hint::H2,
            },
            inbound_port: Some(direct.inbound_port),
            authority: None,
            labels: hop_labels(&direct.hop),
            pod: None,
        };
        for ready in slice.endpoints.iter().filter(|endpoint| endpoint.ready) {
            for ip in &ready.addresses {
                self.add(SocketAddr::new(*ip, port), endpoint.clone());
            }
        }
    }

    /// The first to claim an address keeps it; slices come in the order of their names.
    fn add(&mut self, address: SocketAddr, endpoint: Endpoint) {
        if address.port() != 0 {
            self.endpoints.addresses.entry(address).or_insert(endpoint);
        }
    }
}

fn service_labels(service: &ObjectRef) -> Labels {
    Labels::from([
        ("namespace".into(), label(&service.namespace)),
        ("service".into(), label(&service.name)),
    ])
}

fn pod_labels(key: &ObjectRef, pod: &Pod) -> Labels {
    let mut labels = Labels::from([
        ("pod".into(), label(&key.name)),
        ("serviceaccount".into(), label(&pod.service_account)),
    ]);
    if let Some(sidecar) = &pod.sidecar {
        labels.insert("control_plane_ns".into(), label(&sidecar.control_plane_ns));
    }
    if let Some((kind, name)) = &pod.owner
        && kind.chars().all(|c| c.is_ascii_lowercase())
    {
        labels.insert(kind.clone(), label(name));
    }
    labels
}

fn hop_labels(hop: &Hop) -> Labels {
    let mut labels = Labels::new();
    if let Some(cluster) = &hop.cluster {
        labels.insert("target_cluster".into(), label(cluster));
    }
    let mut names = hop.name.split('.');
    if let (Some(service), Some(namespace)) = (names.next(), names.next()) {
        labels.insert("target_service".into(), label(service));
        labels.insert("target_service_namespace".into(), label(namespace));
    }
    labels
}

fn label(value: &str) -> Arc<str> {
    metadata::plain(value).into()
}
