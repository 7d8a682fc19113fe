//! How to send to an address or name: its protocol, and its backends in order of preference.

use super::{
    Audience, Endpoint, Host, Protocol, Target, TargetKey, endpoints::pod_endpoint,
    protocol::pod_port_is_opaque,
};
use crate::index::{Federation, ObjectRef, Reader, Service};
use std::{net::SocketAddr, sync::Arc};

/// How to send somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outbound {
    /// What is sent to.
    pub(crate) resource: Resource,
    /// What it speaks.
    pub(crate) protocol: Protocol,
    /// Each is used when those before it have no endpoint that works. Never empty.
    pub(crate) backends: Vec<Backend>,
    /// The Service has no such port: connections are refused.
    pub(crate) forbidden: bool,
}

/// Where traffic may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    /// To the endpoints behind a name of this cluster.
    Balance {
        /// What the name stands for.
        resource: Resource,
        /// `name:port`, for `Destination.Get`. Never an address.
        path: String,
    },
    /// To one address.
    Forward {
        /// What is there.
        resource: Resource,
        /// Where.
        address: SocketAddr,
        /// How.
        endpoint: Box<Endpoint>,
    },
}

/// A Kubernetes object, as policies and metrics name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resource {
    /// Kind.
    pub(crate) kind: &'static str,
    /// Namespace and name.
    pub(crate) object: ObjectRef,
    /// A part of it: the cluster of a federated Service's member.
    pub(crate) section: Option<Arc<str>>,
    /// Port.
    pub(crate) port: u16,
}

impl Resource {
    /// A port of a Service.
    pub(super) fn service(object: &ObjectRef, port: u16) -> Self {
        Self {
            kind: "Service",
            object: object.clone(),
            section: None,
            port,
        }
    }

    /// A port of a Pod.
    pub(super) fn pod(object: &ObjectRef, port: u16) -> Self {
        Self {
            kind: "Pod",
            ..Self::service(object, port)
        }
    }
}

/// How to send to `key`; none for what is unknown, which proxies then forward plainly.
pub(crate) fn outbound(reader: &Reader<'_>, key: &TargetKey) -> Option<Outbound> {
    match &key.target {
        Target::Name(host, port) => named(reader, key.audience, host, *port),
        Target::Address(address) => match reader.service_at(address.ip()) {
            Some(service) => named(
                reader,
                key.audience,
                &service.clone().into(),
                address.port(),
            ),
            None if key.audience == Audience::Gateway => None,
            None => pod(reader, *address),
        },
    }
}

fn named(reader: &Reader<'_>, audience: Audience, host: &Host, port: u16) -> Option<Outbound> {
    let key = &host.service;
    let service = reader.service(key).filter(|s| audience.sees(s, port))?;
    let path = |host: &Host| format!("{}:{port}", host.fqdn(&reader.config.cluster_domain));
    let backends = match (&service.federation, &host.member) {
        (Some(federation), None) => members(key, federation, port, path),
        (Some(federation), Some(cluster)) => {
            let cluster = federation.clusters.get(cluster)?;
            vec![member(key, cluster, port, path)]
        }
        (None, _) => vec![Backend::Balance {
            resource: Resource::service(key, port),
            path: path(host),
        }],
    };
    let forbidden = service.port(port).is_none();
    Some(Outbound {
        resource: Resource::service(key, port),
        protocol: match forbidden {
            true => Protocol::Opaque,
            false => protocol(reader, audience, key, service, port),
        },
        backends,
        forbidden,
    })
}

/// A gateway carries connections whose protocol their sender chose: a stock one cannot carry bytes
/// to a port declared as HTTP, so to gateways nothing is declared but opaqueness.
fn protocol(
    reader: &Reader<'_>,
    audience: Audience,
    key: &ObjectRef,
    service: &Service,
    port: u16,
) -> Protocol {
    match (audience, Protocol::of_service(reader, key, service, port)) {
        (_, Protocol::Opaque) => Protocol::Opaque,
        (Audience::Gateway, _) => Protocol::Detect,
        (Audience::Mesh, protocol) => protocol,
    }
}

/// Local first, then the other clusters by name. Who has no endpoints keeps its place: a backend
/// without endpoints is passed over at once, and an unchanged list rebuilds nothing in proxies.
fn members(
    key: &ObjectRef,
    federation: &Federation,
    port: u16,
    path: impl Fn(&Host) -> String,
) -> Vec<Backend> {
    let local = federation.local.iter().map(|name| {
        let local = ObjectRef::new(key.namespace.clone(), name.clone());
        Backend::Balance {
            path: path(&local.clone().into()),
            resource: Resource::service(&local, port),
        }
    });
    let remote = federation.clusters.iter();
    local
        .chain(remote.map(|cluster| member(key, cluster, port, &path)))
        .collect()
}

fn member(
    key: &ObjectRef,
    cluster: &Arc<str>,
    port: u16,
    path: impl Fn(&Host) -> String,
) -> Backend {
    Backend::Balance {
        path: path(&Host {
            service: key.clone(),
            member: Some(cluster.clone()),
        }),
        resource: Resource {
            section: Some(cluster.clone()),
            ..Resource::service(key, port)
        },
    }
}

fn pod(reader: &Reader<'_>, address: SocketAddr) -> Option<Outbound> {
    let key = reader.pod_at(address.ip())?;
    let pod = reader.pod(key)?;
    let port = address.port();
    let opaque = pod_port_is_opaque(reader, &key.namespace, pod, port);
    let resource = Resource::pod(key, port);
    Some(Outbound {
        protocol: match opaque {
            true => Protocol::Opaque,
            false => Protocol::Detect,
        },
        backends: vec![Backend::Forward {
            resource: resource.clone(),
            address,
            endpoint: Box::new(pod_endpoint(reader, key, pod, port)),
        }],
        resource,
        forbidden: false,
    })
}
