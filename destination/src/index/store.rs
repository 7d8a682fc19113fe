//! The cluster as plain data: one map for each kind, and what follows from them directly.
//!
//! Every change says what it touched, and says nothing if nothing that matters changed.

use super::{
    pod::Pod,
    restrictions::Restriction,
    rules::{Authorization, Identities, Network, Server},
    service::Service,
    slice::Slice,
};
use crate::policy::DefaultPolicy;
use crate::ports::PortSet;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

/// Namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ObjectRef {
    /// Namespace.
    pub(crate) namespace: Arc<str>,
    /// Name.
    pub(crate) name: Arc<str>,
}

impl ObjectRef {
    /// From its parts.
    pub(crate) fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

/// Something an answer was computed from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Dep {
    /// A Service.
    Service(ObjectRef),
    /// The EndpointSlices of a Service.
    Slices(ObjectRef),
    /// A Pod.
    Pod(ObjectRef),
    /// Whose address this is.
    Address(IpAddr),
    /// A namespace's annotations.
    Namespace(Arc<str>),
    /// The policy resources of a namespace.
    Policies(Arc<str>),
    /// Who is restricted.
    Restrictions,
}

/// What a change touched.
pub(crate) type Touched = HashSet<Dep>;

/// What the index keeps of a Namespace.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Namespace {
    /// The opaque-ports annotation, where there is one.
    pub(crate) opaque_ports: Option<PortSet>,
    /// The default-inbound-policy annotation, where there is one.
    pub(crate) default_policy: Option<DefaultPolicy>,
}

/// The cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct Store {
    pub(super) namespaces: BTreeMap<Arc<str>, Namespace>,
    pub(super) services: BTreeMap<ObjectRef, Service>,
    pub(super) slices: BTreeMap<ObjectRef, Slice>,
    pub(super) pods: BTreeMap<ObjectRef, Pod>,
    pub(super) servers: BTreeMap<ObjectRef, Server>,
    pub(super) authorizations: BTreeMap<ObjectRef, Authorization>,
    pub(super) mesh_tls: BTreeMap<ObjectRef, Identities>,
    pub(super) networks: BTreeMap<ObjectRef, Vec<Network>>,
    pub(super) restrictions: BTreeMap<ObjectRef, Arc<Restriction>>,
    /// Names of slices by Service. Slice names say nothing about it.
    slices_of: HashMap<ObjectRef, BTreeSet<ObjectRef>>,
    /// Services by cluster IP. An address may be claimed twice for a moment, when it moves.
    services_at: HashMap<IpAddr, BTreeSet<ObjectRef>>,
    /// Pods by their own address.
    pods_at: HashMap<IpAddr, BTreeSet<ObjectRef>>,
}

/// Replaces the entry under `key`, and tells what was there if it changed.
fn replace<V: PartialEq>(
    map: &mut BTreeMap<ObjectRef, V>,
    key: &ObjectRef,
    new: Option<V>,
) -> Option<Option<V>> {
    if map.get(key) == new.as_ref() {
        return None;
    }
    Some(match new {
        Some(value) => map.insert(key.clone(), value),
        None => map.remove(key),
    })
}

impl Store {
    pub(super) fn set_namespace(
        &mut self,
        name: &str,
        new: Option<Namespace>,
        touched: &mut Touched,
    ) {
        if self.namespaces.get(name) == new.as_ref() {
            return;
        }
        let name: Arc<str> = name.into();
        match new {
            Some(namespace) => self.namespaces.insert(name.clone(), namespace),
            None => self.namespaces.remove(&name),
        };
        touched.insert(Dep::Namespace(name));
    }

    pub(super) fn set_service(
        &mut self,
        key: &ObjectRef,
        new: Option<Service>,
        touched: &mut Touched,
    ) {
        let new_ips = new.iter().flat_map(|s| s.cluster_ips.clone()).collect();
        let Some(old) = replace(&mut self.services, key, new) else {
            return;
        };
        let old_ips = old.iter().flat_map(|s| s.cluster_ips.clone()).collect();
        readdress(&mut self.services_at, key, old_ips, new_ips, touched);
        touched.insert(Dep::Service(key.clone()));
    }

    pub(super) fn set_pod(&mut self, key: &ObjectRef, new: Option<Pod>, touched: &mut Touched) {
        let new_ips = new.iter().flat_map(Pod::own_ips).collect();
        let Some(old) = replace(&mut self.pods, key, new) else {
            return;
        };
        let old_ips = old.iter().flat_map(Pod::own_ips).collect();
        readdress(&mut self.pods_at, key, old_ips, new_ips, touched);
        touched.insert(Dep::Pod(key.clone()));
    }

    pub(super) fn set_slice(&mut self, key: &ObjectRef, new: Option<Slice>, touched: &mut Touched) {
        let service_of = |slice: &Slice| ObjectRef {
            namespace: key.namespace.clone(),
            name: slice.service.clone(),
        };
        let new_service = new.as_ref().map(service_of);
        let Some(old) = replace(&mut self.slices, key, new) else {
            return;
        };
        if let Some(service) = old.as_ref().map(service_of) {
            detach(&mut self.slices_of, &service, key);
            touched.insert(Dep::Slices(service));
        }
        if let Some(service) = new_service {
            let names = self.slices_of.entry(service.clone()).or_default();
            names.insert(key.clone());
            touched.insert(Dep::Slices(service));
        }
    }

    pub(super) fn set_server(
        &mut self,
        key: &ObjectRef,
        new: Option<Server>,
        touched: &mut Touched,
    ) {
        touch_policies(replace(&mut self.servers, key, new).is_some(), key, touched);
    }

    pub(super) fn set_authorization(
        &mut self,
        key: &ObjectRef,
        new: Option<Authorization>,
        touched: &mut Touched,
    ) {
        let changed = replace(&mut self.authorizations, key, new).is_some();
        touch_policies(changed, key, touched);
    }

    pub(super) fn set_mesh_tls(
        &mut self,
        key: &ObjectRef,
        new: Option<Identities>,
        touched: &mut Touched,
    ) {
        touch_policies(
            replace(&mut self.mesh_tls, key, new).is_some(),
            key,
            touched,
        );
    }

    pub(super) fn set_networks(
        &mut self,
        key: &ObjectRef,
        new: Option<Vec<Network>>,
        touched: &mut Touched,
    ) {
        touch_policies(
            replace(&mut self.networks, key, new).is_some(),
            key,
            touched,
        );
    }

    pub(super) fn set_restriction(
        &mut self,
        key: &ObjectRef,
        new: Option<Arc<Restriction>>,
        touched: &mut Touched,
    ) {
        if replace(&mut self.restrictions, key, new).is_some() {
            touched.insert(Dep::Restrictions);
        }
    }

    pub(super) fn slices_of<'s>(
        &'s self,
        service: &ObjectRef,
    ) -> impl Iterator<Item = &'s Slice> + use<'s> {
        self.slices_of
            .get(service)
            .into_iter()
            .flatten()
            .filter_map(|key| self.slices.get(key))
    }

    pub(super) fn service_at(&self, ip: IpAddr) -> Option<&ObjectRef> {
        self.services_at.get(&ip)?.first()
    }

    pub(super) fn pod_at(&self, ip: IpAddr) -> Option<&ObjectRef> {
        self.pods_at.get(&ip)?.first()
    }
}

impl Pod {
    /// Addresses that name this pod and no other.
    fn own_ips(&self) -> Vec<IpAddr> {
        match self.host_network || self.gone {
            true => vec![],
            false => self.ips.clone(),
        }
    }
}

fn touch_policies(changed: bool, key: &ObjectRef, touched: &mut Touched) {
    if changed {
        touched.insert(Dep::Policies(key.namespace.clone()));
    }
}

fn readdress(
    at: &mut HashMap<IpAddr, BTreeSet<ObjectRef>>,
    key: &ObjectRef,
    old: Vec<IpAddr>,
    new: Vec<IpAddr>,
    touched: &mut Touched,
) {
    for ip in old.iter().filter(|ip| !new.contains(ip)) {
        detach(at, ip, key);
        touched.insert(Dep::Address(*ip));
    }
    for ip in new.iter().filter(|ip| !old.contains(ip)) {
        at.entry(*ip).or_default().insert(key.clone());
        touched.insert(Dep::Address(*ip));
    }
}

fn detach<K: Eq + std::hash::Hash>(
    map: &mut HashMap<K, BTreeSet<ObjectRef>>,
    at: &K,
    key: &ObjectRef,
) {
    if let Some(keys) = map.get_mut(at) {
        keys.remove(key);
        if keys.is_empty() {
            map.remove(at);
        }
    }
}
