//! The watch driver: from a Kubernetes watch to an index.

use crate::state::WatchState;
use futures::StreamExt as _;
use kube::{
    Api, Resource, ResourceExt as _,
    core::DeserializeGuard,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event},
    },
};
use mesh_daemon::readiness::Guard;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use std::{collections::BTreeSet, fmt::Debug, pin::pin, sync::Arc};

/// Plain data that follows objects of one kind. Called under a lock: be quick, do no I/O.
pub trait Index<K>: Send + 'static {
    /// The object is there, as given.
    fn apply(&mut self, object: K);
    /// The object is gone.
    fn delete(&mut self, namespace: Option<&str>, name: &str);
    /// These objects, and no others, are there.
    fn reset(&mut self, objects: Vec<K>);
}

/// What to watch, and where to say how it goes.
#[derive(Debug)]
pub struct Source<K> {
    /// Which objects.
    pub api: Api<DeserializeGuard<K>>,
    /// Selectors and the like.
    pub config: watcher::Config,
    /// For `/state`.
    pub state: WatchState,
    /// Dropped once everything was seen, where readiness waits for that.
    pub guard: Option<Guard>,
}

/// Follows a watch until the returned future is dropped.
///
/// Failures are retried with a back-off for as long as it takes; meanwhile the index keeps what it
/// has. An object that cannot be read is skipped, counted and named in the log: it costs only
/// itself. The index is reset as a whole whenever the server is listed anew.
pub async fn drive<K, I>(source: Source<K>, index: Arc<Mutex<I>>, changed: impl Fn() + Send)
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    I: Index<K>,
{
    let Source {
        api,
        config,
        state,
        mut guard,
    } = source;
    let mut stream = pin!(watcher::watcher(api, config).default_backoff());
    let mut known = BTreeSet::new();
    let mut listed = Vec::new();
    while let Some(event) = stream.next().await {
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(object)) => listed.extend(read(object, &state)),
            Ok(Event::InitDone) => {
                let objects = std::mem::take(&mut listed);
                known = objects.iter().map(|object| key(object)).collect();
                let revision = objects
                    .iter()
                    .filter_map(|o| o.resource_version())
                    .next_back();
                index.lock().reset(objects);
                state.saw(revision, known.len(), true);
                guard.take();
                changed();
            }
            Ok(Event::Apply(object)) => {
                let Some(object) = read(object, &state) else {
                    continue;
                };
                known.insert(key(&object));
                let revision = object.resource_version();
                index.lock().apply(object);
                state.saw(revision, known.len(), false);
                changed();
            }
            Ok(Event::Delete(object)) => {
                let (namespace, name) = (object.namespace(), object.name_any());
                let revision = object.resource_version();
                index.lock().delete(namespace.as_deref(), &name);
                known.remove(&(namespace, name));
                state.saw(revision, known.len(), false);
                changed();
            }
            Err(error) => {
                tracing::warn!(%error, watch = %state.to_json()["watch"], "watch failed; retrying");
                state.failed(error.to_string());
                changed();
            }
        }
    }
}

fn key<K: Resource>(object: &K) -> (Option<String>, String) {
    let meta = object.meta();
    (
        meta.namespace.clone(),
        meta.name.clone().unwrap_or_default(),
    )
}

fn read<K>(object: DeserializeGuard<K>, state: &WatchState) -> Option<K> {
    match object.0 {
        Ok(object) => Some(object),
        Err(invalid) => {
            let name = invalid.metadata.name.as_deref().unwrap_or_default();
            let namespace = invalid.metadata.namespace.as_deref().unwrap_or_default();
            tracing::warn!(namespace, name, error = %invalid.error, "skipped an unreadable object");
            state.skipped();
            None
        }
    }
}
