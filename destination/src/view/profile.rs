//! What is known of an address or name, for `GetProfile`.

use super::{
    Audience, Endpoint, EndpointsKey, Host, Protocol, Resource, Target, TargetKey, endpoints,
    endpoints::pod_endpoint, protocol::pod_port_is_opaque,
};
use crate::index::{ObjectRef, Reader};
use std::net::SocketAddr;

/// What is known of an address or name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Profile {
    /// Full name without a port; empty if there is none.
    pub(crate) name: String,
    /// Bytes, no HTTP.
    pub(crate) opaque: bool,
    /// The one endpoint it is, if it is one.
    pub(crate) endpoint: Option<(SocketAddr, Endpoint)>,
    /// The Service or Pod.
    pub(crate) resource: Option<Resource>,
}

/// What is known of `key`. Workloads get an empty answer for the unknown, which forwards plainly;
/// for gateways there is no such thing.
pub(crate) fn profile(reader: &Reader<'_>, key: &TargetKey) -> Option<Profile> {
    let (known, port) = match &key.target {
        Target::Address(address) => (at_address(reader, key.audience, *address), address.port()),
        Target::Name(host, port) => (named(reader, key.audience, host, *port), *port),
    };
    match key.audience {
        Audience::Gateway => known,
        Audience::Mesh => Some(known.unwrap_or_else(|| Profile {
            opaque: reader.config.opaque_ports.contains(port),
            ..Profile::default()
        })),
    }
}

fn at_address(reader: &Reader<'_>, audience: Audience, address: SocketAddr) -> Option<Profile> {
    match reader.service_at(address.ip()) {
        Some(service) => named(reader, audience, &service.clone().into(), address.port()),
        // Pods are reached by the name of an exported Service, never by address.
        None if audience == Audience::Gateway => None,
        None => {
            let key = reader.pod_at(address.ip())?;
            let pod = reader.pod(key)?;
            Some(Profile {
                name: String::new(),
                opaque: pod_port_is_opaque(reader, &key.namespace, pod, address.port()),
                endpoint: Some((address, pod_endpoint(reader, key, pod, address.port()))),
                resource: Some(Resource::pod(key, address.port())),
            })
        }
    }
}

fn named(reader: &Reader<'_>, audience: Audience, host: &Host, port: u16) -> Option<Profile> {
    let key: &ObjectRef = &host.service;
    let service = reader.service(key).filter(|s| audience.sees(s, port))?;
    let endpoint = match (&host.member, &service.federation) {
        (None, _) => None,
        (Some(cluster), Some(federation)) => {
            federation.clusters.get(cluster)?;
            None
        }
        (Some(_), None) => pod_named(reader, audience, host, port),
    };
    Some(Profile {
        name: host.fqdn(&reader.config.cluster_domain),
        opaque: Protocol::of_service(reader, key, service, port) == Protocol::Opaque,
        endpoint,
        resource: Some(Resource::service(key, port)),
    })
}

/// A pod's own name under its Service's is one endpoint, when it is there.
fn pod_named(
    reader: &Reader<'_>,
    audience: Audience,
    host: &Host,
    port: u16,
) -> Option<(SocketAddr, Endpoint)> {
    let key = EndpointsKey {
        audience,
        host: host.clone(),
        port,
    };
    endpoints(reader, &key)?.addresses.pop_first()
}
