//! Follows this cluster's own objects: namespaces, Services, and the slices the mirror manages.

use crate::plan::{self, Local};
use k8s_openapi::api::{
    core::v1::{Namespace, Service},
    discovery::v1::EndpointSlice,
};
use kube::{Api, Client, ResourceExt as _, api::ListParams};
use mesh_clusters::snapshot::Key;
use mesh_contract::{labels, names};
use mesh_daemon::readiness::Readiness;
use mesh_watch::{Index, Source, WatchState, drive};
use parking_lot::Mutex;
use std::sync::Arc;

/// The index, and how its watches fare.
#[derive(Clone, Debug)]
pub(crate) struct Follower {
    index: Arc<Mutex<Local>>,
    watches: [WatchState; 3],
}

impl Follower {
    pub(crate) fn new() -> Self {
        let watches = ["namespaces", "services", "endpointslices"].map(WatchState::new);
        Self {
            index: Arc::default(),
            watches,
        }
    }

    /// What is there; none before everything was listed once.
    pub(crate) fn local(&self) -> Option<Local> {
        let synced = self.watches.iter().all(WatchState::is_synced);
        synced.then(|| self.index.lock().clone())
    }

    /// What this process just wrote is known at once, not when the watch tells.
    pub(crate) fn wrote<K>(&self, object: K)
    where
        Local: Index<K>,
    {
        Index::<K>::apply(&mut *self.index.lock(), object);
    }

    /// What this process just removed.
    pub(crate) fn removed<K>(&self, (namespace, name): &Key)
    where
        Local: Index<K>,
    {
        Index::<K>::delete(&mut *self.index.lock(), Some(namespace), name);
    }

    /// For `/state`.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        self.watches.iter().map(WatchState::to_json).collect()
    }

    /// Follows until dropped.
    pub(crate) async fn follow(
        &self,
        client: Client,
        readiness: &Readiness,
        changed: impl Fn() + Send + Copy,
    ) {
        let [namespaces, services, slices] = self.watches.clone();
        let managed = format!("{}={}", labels::SLICE_MANAGED_BY, names::SLICE_MANAGER);
        futures::future::join3(
            drive::<Namespace, _>(
                Source {
                    api: Api::all(client.clone()),
                    select: ListParams::default(),
                    state: namespaces,
                    guard: Some(readiness.guard("namespaces")),
                },
                self.index.clone(),
                changed,
            ),
            drive::<Service, _>(
                Source {
                    api: Api::all(client.clone()),
                    select: ListParams::default(),
                    state: services,
                    guard: Some(readiness.guard("services")),
                },
                self.index.clone(),
                changed,
            ),
            drive::<EndpointSlice, _>(
                Source {
                    api: Api::all(client),
                    select: ListParams::default().labels(&managed),
                    state: slices,
                    guard: Some(readiness.guard("endpointslices")),
                },
                self.index.clone(),
                changed,
            ),
        )
        .await;
    }
}

fn key(namespace: Option<&str>, name: &str) -> Key {
    (namespace.unwrap_or_default().to_owned(), name.to_owned())
}

fn key_of<K: kube::Resource>(object: &K) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}

impl Index<Namespace> for Local {
    fn apply(&mut self, namespace: Namespace) {
        // One that is going away takes nothing new.
        if namespace.metadata.deletion_timestamp.is_some() {
            self.namespaces.remove(&namespace.name_any());
        } else {
            self.namespaces.insert(namespace.name_any());
        }
    }

    fn delete(&mut self, _: Option<&str>, name: &str) {
        self.namespaces.remove(name);
    }

    fn reset(&mut self, namespaces: Vec<Namespace>) {
        self.namespaces.clear();
        for namespace in namespaces {
            self.apply(namespace);
        }
    }
}

impl Index<Service> for Local {
    fn apply(&mut self, service: Service) {
        self.services.insert(key_of(&service), service);
    }

    fn delete(&mut self, namespace: Option<&str>, name: &str) {
        self.services.remove(&key(namespace, name));
    }

    fn reset(&mut self, services: Vec<Service>) {
        self.services = services.into_iter().map(|s| (key_of(&s), s)).collect();
    }
}

impl Index<EndpointSlice> for Local {
    fn apply(&mut self, slice: EndpointSlice) {
        if plan::manages(&slice) {
            self.slices.insert(key_of(&slice), slice);
        } else {
            self.slices.remove(&key_of(&slice));
        }
    }

    fn delete(&mut self, namespace: Option<&str>, name: &str) {
        self.slices.remove(&key(namespace, name));
    }

    fn reset(&mut self, slices: Vec<EndpointSlice>) {
        self.slices = slices.into_iter().map(|s| (key_of(&s), s)).collect();
    }
}
