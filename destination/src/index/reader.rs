//! Reading the store while noting what was read, so that no answer can forget what it rests on.

use super::{
    pod::Pod,
    rules::{Authorization, Identities, Network, Server},
    service::Service,
    slice::Slice,
    store::{Dep, Namespace, ObjectRef, Store, Touched},
};
use crate::config::Config;
use std::{cell::RefCell, net::IpAddr, sync::Arc};

/// A view on the store for the time of one computation.
pub(crate) struct Reader<'a> {
    /// What does not change.
    pub(crate) config: &'a Config,
    store: &'a Store,
    read: RefCell<Touched>,
}

impl<'a> Reader<'a> {
    /// Nothing read yet.
    pub(super) fn new(config: &'a Config, store: &'a Store) -> Self {
        Self {
            config,
            store,
            read: RefCell::default(),
        }
    }

    /// What was read.
    pub(super) fn into_read(self) -> Touched {
        self.read.into_inner()
    }

    fn note(&self, dep: Dep) {
        self.read.borrow_mut().insert(dep);
    }

    /// A Service.
    pub(crate) fn service(&self, key: &ObjectRef) -> Option<&'a Service> {
        self.note(Dep::Service(key.clone()));
        self.store.services.get(key)
    }

    /// The Service with this cluster IP.
    pub(crate) fn service_at(&self, ip: IpAddr) -> Option<&'a ObjectRef> {
        self.note(Dep::Address(ip));
        self.store.service_at(ip)
    }

    /// The EndpointSlices of a Service.
    pub(crate) fn slices(&self, service: &ObjectRef) -> impl Iterator<Item = &'a Slice> + use<'a> {
        self.note(Dep::Slices(service.clone()));
        self.store.slices_of(service)
    }

    /// A Pod that still runs.
    pub(crate) fn pod(&self, key: &ObjectRef) -> Option<&'a Pod> {
        self.note(Dep::Pod(key.clone()));
        self.store.pods.get(key).filter(|pod| !pod.gone)
    }

    /// A Pod, even one on its way out: policy holds to the end.
    pub(crate) fn pod_to_the_end(&self, key: &ObjectRef) -> Option<&'a Pod> {
        self.note(Dep::Pod(key.clone()));
        self.store.pods.get(key)
    }

    /// The Pod with this address of its own.
    pub(crate) fn pod_at(&self, ip: IpAddr) -> Option<&'a ObjectRef> {
        self.note(Dep::Address(ip));
        self.store.pod_at(ip)
    }

    /// A Namespace.
    pub(crate) fn namespace(&self, name: &Arc<str>) -> Option<&'a Namespace> {
        self.note(Dep::Namespace(name.clone()));
        self.store.namespaces.get(name)
    }

    /// The Server that speaks about a port of a pod: the oldest that does, then by name.
    pub(crate) fn server_for(
        &self,
        namespace: &Arc<str>,
        pod: &Pod,
        port: u16,
    ) -> Option<(&'a ObjectRef, &'a Server)> {
        self.note(Dep::Policies(namespace.clone()));
        in_namespace(&self.store.servers, namespace)
            .filter(|(_, server)| server.selects(&pod.labels, &pod.named_ports, port))
            .min_by_key(|(key, server)| (server.created.unwrap_or(i64::MAX), *key))
    }

    /// The AuthorizationPolicies of a namespace, by name.
    pub(crate) fn authorizations(
        &self,
        namespace: &Arc<str>,
    ) -> impl Iterator<Item = (&'a ObjectRef, &'a Authorization)> + use<'a> {
        self.note(Dep::Policies(namespace.clone()));
        in_namespace(&self.store.authorizations, namespace)
    }

    /// A MeshTLSAuthentication.
    pub(crate) fn mesh_tls(&self, key: &ObjectRef) -> Option<&'a Identities> {
        self.note(Dep::Policies(key.namespace.clone()));
        self.store.mesh_tls.get(key)
    }

    /// A NetworkAuthentication.
    pub(crate) fn networks(&self, key: &ObjectRef) -> Option<&'a Vec<Network>> {
        self.note(Dep::Policies(key.namespace.clone()));
        self.store.networks.get(key)
    }
}

fn in_namespace<'a, V>(
    map: &'a std::collections::BTreeMap<ObjectRef, V>,
    namespace: &Arc<str>,
) -> impl Iterator<Item = (&'a ObjectRef, &'a V)> + use<'a, V> {
    let namespace = namespace.clone();
    map.range(ObjectRef::new(namespace.clone(), "")..)
        .take_while(move |(key, _)| key.namespace == namespace)
}
