//! From the API server to the index: one watch for each kind. The only file that asks Kubernetes.
//!
//! The kinds of Kubernetes itself must be listed before anything is served. The policy kinds may be
//! absent from a cluster, and then are asked for again from time to time; but while it is unknown
//! whether they are there nothing is served either, as not knowing a Server would mean applying a
//! laxer default. An API server that fails later changes nothing: the index keeps what it has.

use crate::index::{Index, Kind};
use k8s_openapi::api::{core::v1 as core, discovery::v1 as discovery};
use kube::{Api, Client, Resource, api::ListParams, core::DeserializeGuard, runtime::watcher};
use mesh_api::policy;
use mesh_daemon::readiness::{Guard, Readiness};
use mesh_watch::{Source, WatchState, drive};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use std::{fmt::Debug, sync::Arc, time::Duration};
use tokio::task::JoinSet;

/// Bounds of the wait between attempts to learn whether a kind is there.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

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
        watches.required::<core::Namespace>();
        watches.required::<core::Service>();
        watches.required::<core::Pod>();
        watches.required::<discovery::EndpointSlice>();
        watches.optional::<policy::Server>();
        watches.optional::<policy::AuthorizationPolicy>();
        watches.optional::<policy::MeshTLSAuthentication>();
        watches.optional::<policy::NetworkAuthentication>();
        watches
    }

    /// What each watch believes, for `/state`.
    pub(crate) fn states(&self) -> Vec<WatchState> {
        self.states.clone()
    }

    fn required<K>(&mut self)
    where
        K: Kind + Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        let source = self.source::<K>();
        let index = self.index.clone();
        self.tasks.spawn(drive(source, index, || {}));
    }

    fn optional<K>(&mut self)
    where
        K: Kind + Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        let mut source = self.source::<K>();
        let index = self.index.clone();
        self.tasks.spawn(async move {
            source.guard = match is_served(&source.api, K::NAME).await {
                true => source.guard,
                false => None,
            };
            drive(source, index, || {}).await;
        });
    }

    fn source<K>(&mut self) -> Source<K>
    where
        K: Kind + Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let state = WatchState::new(K::NAME);
        self.states.push(state.clone());
        let guard: Guard = self.readiness.guard(K::NAME);
        Source {
            api: Api::all(self.client.clone()),
            config: watcher::Config::default(),
            state,
            guard: Some(guard),
        }
    }
}

/// Whether the cluster has this kind; asked until it says yes or no.
async fn is_served<K>(api: &Api<DeserializeGuard<K>>, name: &str) -> bool
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let (mut wait, longest) = RETRY;
    loop {
        match api.list(&ListParams::default().limit(1)).await {
            Ok(_) => return true,
            Err(kube::Error::Api(status)) if status.code == 404 => {
                tracing::info!(
                    kind = name,
                    "not installed in this cluster; policies of this kind have no effect"
                );
                return false;
            }
            Err(error) => {
                tracing::warn!(kind = name, %error, "cannot list; retrying");
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(longest);
            }
        }
    }
}

impl<K: Kind + Send + 'static> mesh_watch::Index<K> for Index {
    fn apply(&mut self, object: K) {
        Index::apply(self, &object);
    }

    fn delete(&mut self, namespace: Option<&str>, name: &str) {
        Index::delete::<K>(self, namespace.unwrap_or(""), name);
    }

    fn reset(&mut self, objects: Vec<K>) {
        Index::reset(self, &objects);
    }
}
