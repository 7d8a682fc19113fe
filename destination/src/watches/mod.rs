//! From the API server to the index: one watch for each kind. The only part that asks Kubernetes;
//! how it asks is `mesh_watch`'s.
//!
//! The kinds of Kubernetes itself must be listed before anything is served. The policy kinds may be
//! absent from a cluster, and then are asked for again and again; but while it is unknown whether
//! they are there nothing is served either, as not knowing a Server would mean applying a laxer
//! default. An API server that fails later changes nothing: the index keeps what it has.

mod index;
mod optional;

use crate::index::{Index, Kind};
use k8s_openapi::api::{core::v1 as core, discovery::v1 as discovery};
use kube::{Api, Client, Resource, api::ListParams};
use mesh_api::policy;
use mesh_daemon::readiness::Readiness;
use mesh_watch::{Source, WatchState, drive};
use optional::Optional;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use std::{fmt::Debug, sync::Arc};
use tokio::task::JoinSet;

/// The running watches; dropping them ends them.
pub(crate) struct Watches {
    tasks: JoinSet<()>,
    states: Vec<WatchState>,
    client: Client,
    index: Arc<Mutex<Index>>,
    readiness: Readiness,
}

impl Watches {
    /// Starts them all.
    pub(crate) fn start(client: Client, index: Arc<Mutex<Index>>, readiness: Readiness) -> Self {
        let mut watches = Self {
            tasks: JoinSet::new(),
            states: vec![],
            client,
            index,
            readiness,
        };
        watches.add::<core::Namespace>(true);
        watches.add::<core::Service>(true);
        watches.add::<core::Pod>(true);
        watches.add::<discovery::EndpointSlice>(true);
        watches.add::<policy::Server>(false);
        watches.add::<policy::AuthorizationPolicy>(false);
        watches.add::<policy::MeshTLSAuthentication>(false);
        watches.add::<policy::NetworkAuthentication>(false);
        watches.add::<policy::ClientRestriction>(false);
        watches
    }

    /// What each watch believes, for `/state`.
    pub(crate) fn states(&self) -> Vec<WatchState> {
        self.states.clone()
    }

    /// Watches a kind; `required` says whether every cluster has it.
    fn add<K>(&mut self, required: bool)
    where
        K: Kind + Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        let state = WatchState::new(K::NAME);
        self.states.push(state.clone());
        let mut source = Source::<K> {
            api: Api::all(self.client.clone()),
            select: ListParams::default(),
            state: state.clone(),
            guard: Some(self.readiness.guard(K::NAME)),
        };
        let index = self.index.clone();
        if required {
            self.tasks.spawn(drive(source, index, || {}));
        } else {
            let optional = Optional::new(K::NAME, state, source.guard.take());
            self.tasks
                .spawn(drive(source, index, move || optional.changed()));
        }
    }
}

#[cfg(test)]
mod tests;
