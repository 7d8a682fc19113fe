//! The index: what the cluster holds, and the answers that follow from it.
//!
//! Synchronous plain data with one owner. Watches feed it (`apply`, `delete`, `reset` for each
//! kind); gRPC asks it for receivers. It does no I/O, waits for nothing and spawns nothing.
//!
//! ```text
//!  Service ◀─ kubernetes.io/service-name ─ EndpointSlice ─ targetRef ─▶ Pod ◀─ podSelector ─ Server
//!     ▲ clusterIP, name                        │ gateway annotations      ▲ name         ▲ targetRef
//!  questions of proxies                        ▼                       questions    AuthorizationPolicy
//!                                     another cluster's gateway                          │
//!                                                        MeshTLS-, NetworkAuthentication ◀
//! ```
//!
//! An answer is computed by a pure function in [`crate::view`] through a [`Reader`], which notes
//! what it read. When that changes the answer is computed again, and published if it differs.

pub(crate) mod metadata;
mod pod;
mod reader;
mod restrictions;
mod rules;
mod service;
mod slice;
mod store;
mod views;

pub(crate) use pod::Pod;
pub(crate) use reader::Reader;
pub(crate) use restrictions::{Restriction, Standing};
pub(crate) use rules::{
    Authorization, AuthorizationTarget, Identities, IdentityRef, Network, Requires, Server,
};
pub(crate) use service::{Federation, Service, ServicePort};
pub(crate) use slice::{Direct, Hop, Origin, Slice, SliceEndpoint};
pub(crate) use store::{Namespace, ObjectRef, Store};

use crate::config::Config;
use crate::view::{
    Endpoints, EndpointsKey, Inbound, InboundKey, Outbound, Profile, TargetKey, endpoints, inbound,
    outbound, profile,
};
use k8s_openapi::api::{core::v1 as core, discovery::v1 as discovery};
use mesh_api::policy as api;
use mesh_contract::annotations;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use store::Touched;
use tokio::sync::watch;
use views::Views;

/// An answer that may be "there is no such thing".
pub(crate) type Answer<T> = Option<Arc<T>>;
/// The identities of this cluster's gateways.
pub(crate) type Gateways = Arc<BTreeSet<Arc<str>>>;

/// What the cluster holds and the answers that follow.
#[derive(Debug)]
pub(crate) struct Index {
    config: Arc<Config>,
    store: Store,
    endpoints: Questions<EndpointsKey, Endpoints>,
    profiles: Questions<TargetKey, Profile>,
    outbound: Questions<TargetKey, Outbound>,
    inbound: Questions<InboundKey, Inbound>,
    gateways: watch::Sender<Gateways>,
    standing: watch::Sender<Arc<Standing>>,
}

/// Questions of one kind, their answers, and how these are found.
#[derive(Debug)]
struct Questions<K, V> {
    views: Views<K, Answer<V>>,
    find: fn(&Reader<'_>, &K) -> Option<V>,
}

/// A kind of object the index takes.
pub(crate) trait Kind: Sized {
    /// What it is called on /state.
    const NAME: &'static str;
    /// Namespace (empty for cluster-wide kinds) and name.
    fn key(&self) -> ObjectRef;
    /// Puts it, or its absence, in the store.
    fn put(
        store: &mut Store,
        config: &Config,
        key: &ObjectRef,
        new: Option<&Self>,
        touched: &mut Touched,
    );
    /// The keys the store holds.
    fn keys(store: &Store) -> Vec<ObjectRef>;
}

impl Index {
    /// Empty.
    pub(crate) fn new(config: Arc<Config>) -> Self {
        Self {
            config,
            store: Store::default(),
            endpoints: Questions::new(endpoints),
            profiles: Questions::new(profile),
            outbound: Questions::new(outbound),
            inbound: Questions::new(inbound),
            gateways: watch::Sender::new(Gateways::default()),
            standing: watch::Sender::default(),
        }
    }

    /// An object is there, like this.
    pub(crate) fn apply<K: Kind>(&mut self, object: &K) {
        let mut touched = Touched::new();
        let key = object.key();
        K::put(
            &mut self.store,
            &self.config,
            &key,
            Some(object),
            &mut touched,
        );
        self.publish(&touched);
    }

    /// An object is gone.
    pub(crate) fn delete<K: Kind>(&mut self, namespace: &str, name: &str) {
        let mut touched = Touched::new();
        let key = ObjectRef::new(namespace, name);
        K::put(&mut self.store, &self.config, &key, None, &mut touched);
        self.publish(&touched);
    }

    /// These objects are there, and no others of their kind.
    pub(crate) fn reset<K: Kind>(&mut self, objects: &[K]) {
        let mut touched = Touched::new();
        let mut gone: BTreeSet<_> = K::keys(&self.store).into_iter().collect();
        for object in objects {
            let key = object.key();
            gone.remove(&key);
            K::put(
                &mut self.store,
                &self.config,
                &key,
                Some(object),
                &mut touched,
            );
        }
        for key in gone {
            K::put(&mut self.store, &self.config, &key, None, &mut touched);
        }
        self.publish(&touched);
    }

    /// How many objects of each kind, and how many answers, are kept.
    pub(crate) fn counts(&self) -> BTreeMap<&'static str, usize> {
        let store = &self.store;
        BTreeMap::from([
            ("namespaces", store.namespaces.len()),
            ("services", store.services.len()),
            ("endpointslices", store.slices.len()),
            ("pods", store.pods.len()),
            ("servers", store.servers.len()),
            ("authorizationpolicies", store.authorizations.len()),
            ("meshtlsauthentications", store.mesh_tls.len()),
            ("networkauthentications", store.networks.len()),
            ("clientrestrictions", store.restrictions.len()),
            ("watched endpoints", self.endpoints.views.len()),
            ("watched profiles", self.profiles.views.len()),
            ("watched outbound policies", self.outbound.views.len()),
            ("watched inbound policies", self.inbound.views.len()),
        ])
    }

    /// The identities of this cluster's gateways, now and later.
    pub(crate) fn gateways(&self) -> watch::Receiver<Gateways> {
        self.gateways.subscribe()
    }

    /// Who is restricted and which gateways hold leases, now and later.
    pub(crate) fn standing(&self) -> watch::Receiver<Arc<Standing>> {
        self.standing.subscribe()
    }

    /// Endpoints of a name.
    pub(crate) fn endpoints(&mut self, key: EndpointsKey) -> watch::Receiver<Answer<Endpoints>> {
        self.endpoints.ask(&self.config, &self.store, key)
    }

    /// What is known of an address or name.
    pub(crate) fn profile(&mut self, key: TargetKey) -> watch::Receiver<Answer<Profile>> {
        self.profiles.ask(&self.config, &self.store, key)
    }

    /// How to send to an address or name.
    pub(crate) fn outbound(&mut self, key: TargetKey) -> watch::Receiver<Answer<Outbound>> {
        self.outbound.ask(&self.config, &self.store, key)
    }

    /// Who may use a port of a pod, and what it speaks.
    pub(crate) fn inbound(&mut self, key: InboundKey) -> watch::Receiver<Answer<Inbound>> {
        self.inbound.ask(&self.config, &self.store, key)
    }

    /// An index of the same cluster that has never been asked anything.
    #[cfg(test)]
    pub(crate) fn rebuilt(&self) -> Self {
        Self {
            store: self.store.clone(),
            ..Self::new(self.config.clone())
        }
    }

    fn publish(&mut self, touched: &Touched) {
        if touched.is_empty() {
            return;
        }
        // First: a stream of somebody who just became a gateway ends before it hears more.
        self.publish_gateways();
        tell(&self.standing, Standing::of(&self.store));
        let (config, store) = (&self.config, &self.store);
        self.endpoints.publish(config, store, touched);
        self.profiles.publish(config, store, touched);
        self.outbound.publish(config, store, touched);
        self.inbound.publish(config, store, touched);
    }

    /// A gateway is who a gateway Service says it is, and every pod whose sidecar is one: deleting
    /// the Service must not turn its pods into ordinary clients.
    fn publish_gateways(&self) {
        let services = self.store.services.values();
        let pods = self.store.pods.iter().filter(|(_, pod)| pod.gateway);
        let gateways: BTreeSet<Arc<str>> = services
            .filter_map(|service| service.gateway_identity.clone())
            .chain(
                pods.map(|(key, pod)| self.config.identity(&pod.service_account, &key.namespace)),
            )
            .collect();
        tell(&self.gateways, gateways);
    }
}

/// Makes `new` what `known` says, unless it says so already.
fn tell<T: PartialEq>(known: &watch::Sender<Arc<T>>, new: T) {
    known.send_if_modified(|current| {
        let differs = **current != new;
        if differs {
            *current = Arc::new(new);
        }
        differs
    });
}

impl<K: Clone + Eq + std::hash::Hash, V: PartialEq> Questions<K, V> {
    fn new(find: fn(&Reader<'_>, &K) -> Option<V>) -> Self {
        Self {
            views: Views::default(),
            find,
        }
    }

    fn ask(&mut self, config: &Config, store: &Store, key: K) -> watch::Receiver<Answer<V>> {
        let find = self.find;
        self.views.watch(key, |key| read(config, store, key, find))
    }

    fn publish(&mut self, config: &Config, store: &Store, touched: &Touched) {
        let find = self.find;
        self.views
            .publish(touched, |key| read(config, store, key, find));
    }
}

fn read<K, V>(
    config: &Config,
    store: &Store,
    key: &K,
    find: fn(&Reader<'_>, &K) -> Option<V>,
) -> (Answer<V>, Touched) {
    let reader = Reader::new(config, store);
    let answer = find(&reader, key).map(Arc::new);
    (answer, reader.into_read())
}

fn key_of(meta: &kube::core::ObjectMeta) -> ObjectRef {
    ObjectRef::new(
        meta.namespace.as_deref().unwrap_or(""),
        meta.name.as_deref().unwrap_or(""),
    )
}

macro_rules! kind {
    ($kind:ty, $name:literal, $map:ident, $set:ident, |$config:ident, $object:ident| $read:expr) => {
        impl Kind for $kind {
            const NAME: &'static str = $name;

            fn key(&self) -> ObjectRef {
                key_of(&self.metadata)
            }

            fn put(
                store: &mut Store,
                $config: &Config,
                key: &ObjectRef,
                new: Option<&Self>,
                touched: &mut Touched,
            ) {
                store.$set(key, new.and_then(|$object| $read), touched);
            }

            fn keys(store: &Store) -> Vec<ObjectRef> {
                store.$map.keys().cloned().collect()
            }
        }
    };
}

kind!(
    core::Service,
    "services",
    services,
    set_service,
    |config, service| { Some(Service::new(config, service)) }
);
kind!(core::Pod, "pods", pods, set_pod, |config, pod| {
    Some(Pod::new(&config.controller_ns, pod))
});
kind!(
    discovery::EndpointSlice,
    "endpointslices",
    slices,
    set_slice,
    |_config, slice| Slice::new(slice)
);
kind!(
    api::Server,
    "servers",
    servers,
    set_server,
    |_config, server| { Server::new(server) }
);
kind!(
    api::AuthorizationPolicy,
    "authorizationpolicies",
    authorizations,
    set_authorization,
    |config, policy| Some(Authorization::new(config, policy))
);
kind!(
    api::MeshTLSAuthentication,
    "meshtlsauthentications",
    mesh_tls,
    set_mesh_tls,
    |config, authn| Some(Identities::new(config, authn))
);
kind!(
    api::NetworkAuthentication,
    "networkauthentications",
    networks,
    set_networks,
    |_config, authn| Network::all(authn)
);

kind!(
    api::ClientRestriction,
    "clientrestrictions",
    restrictions,
    set_restriction,
    |_config, restriction| Some(Arc::new(Restriction::new(restriction)))
);

impl Kind for core::Namespace {
    const NAME: &'static str = "namespaces";

    fn key(&self) -> ObjectRef {
        key_of(&self.metadata)
    }

    fn put(
        store: &mut Store,
        _: &Config,
        key: &ObjectRef,
        new: Option<&Self>,
        touched: &mut Touched,
    ) {
        let new = new.map(|namespace| Namespace {
            opaque_ports: metadata::ports(&namespace.metadata, annotations::OPAQUE_PORTS, |_| None),
            default_policy: metadata::parsed(
                &namespace.metadata,
                annotations::DEFAULT_INBOUND_POLICY,
            ),
        });
        store.set_namespace(&key.name, new, touched);
    }

    fn keys(store: &Store) -> Vec<ObjectRef> {
        let key = |name: &Arc<str>| ObjectRef::new("", name.clone());
        store.namespaces.keys().map(key).collect()
    }
}
