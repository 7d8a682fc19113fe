//! One watch, followed for the life of the process.

use super::WatchState;
use crate::index::{Index, Kind};
use backon::ExponentialBuilder;
use futures::StreamExt as _;
use kube::{
    Api, Resource, ResourceExt as _,
    core::DeserializeGuard,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, ExponentialBackoff},
    },
};
use mesh_daemon::readiness::Guard;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use std::{fmt::Debug, pin::pin, sync::Arc, time::Duration};

/// Bounds of the wait after a failure. Short: an API server that is back should be heard soon.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// An API server that just started does not know its custom resources for a moment; only one that
/// says so several times means it.
const ABSENT_AFTER: u32 = 5;

/// A kind to watch, and where it goes.
pub(super) struct Drive<K> {
    /// Which objects. Those that cannot be read cost only themselves.
    pub(super) api: Api<DeserializeGuard<K>>,
    /// Told of them.
    pub(super) index: Arc<Mutex<Index>>,
    /// For `/state`.
    pub(super) state: WatchState,
    /// Whether every cluster has this kind.
    pub(super) required: bool,
    /// Held until every object was seen, or the kind is known to be absent.
    pub(super) guard: Option<Guard>,
}

impl<K> Drive<K>
where
    K: Kind + Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    /// Follows the watch; never ends.
    pub(super) async fn run(mut self) {
        let (shortest, longest) = RETRY;
        let backoff = ExponentialBuilder::new()
            .with_min_delay(shortest)
            .with_max_delay(longest)
            .with_jitter()
            .without_max_times();
        let watcher = watcher::watcher(self.api.clone(), watcher::Config::default());
        let mut events = pin!(watcher.backoff(ExponentialBackoff::from(backoff)));
        let mut listed = Vec::new();
        let mut absent = 0;
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitApply(object)) => listed.push(object),
                Ok(Event::InitDone) => {
                    absent = 0;
                    self.reset(std::mem::take(&mut listed));
                }
                Ok(Event::Apply(object)) => self.apply(object),
                Ok(Event::Delete(object)) => self.delete(&object),
                Err(error) => {
                    absent = if is_absent(&error) { absent + 1 } else { 0 };
                    self.failed(&error, absent);
                }
            }
        }
    }

    fn reset(&mut self, objects: Vec<DeserializeGuard<K>>) {
        let revisions = objects
            .iter()
            .filter_map(|object| object.resource_version());
        self.state
            .listed(revisions.max_by_key(|r| r.parse::<u64>().ok()));
        let objects: Vec<K> = objects.into_iter().filter_map(|o| self.read(o)).collect();
        self.index.lock().reset(&objects);
        self.guard = None;
    }

    fn apply(&mut self, object: DeserializeGuard<K>) {
        self.state.heard(object.resource_version());
        // One that became unreadable keeps its last readable state: forgetting a Server would
        // apply a laxer default.
        if let Some(object) = self.read(object) {
            self.index.lock().apply(&object);
        }
    }

    fn delete(&mut self, object: &DeserializeGuard<K>) {
        self.state.heard(object.resource_version());
        let namespace = object.namespace().unwrap_or_default();
        let name = object.name_any();
        self.index.lock().delete::<K>(&namespace, &name);
    }

    fn failed(&mut self, error: &watcher::Error, absent: u32) {
        if self.state.failed(error.to_string()) {
            tracing::warn!(kind = K::NAME, %error, "watch failed; keeping what is known, retrying");
        }
        if absent == ABSENT_AFTER && !self.required && self.guard.take().is_some() {
            tracing::info!(
                kind = K::NAME,
                "not installed in this cluster; policies of this kind have no effect"
            );
        }
    }

    fn read(&self, object: DeserializeGuard<K>) -> Option<K> {
        object
            .0
            .map_err(|invalid| {
                self.state.skipped();
                tracing::warn!(
                    kind = K::NAME,
                    namespace = invalid.metadata.namespace.as_deref().unwrap_or(""),
                    name = invalid.metadata.name.as_deref().unwrap_or(""),
                    error = %invalid.error,
                    "skipped an object that cannot be read"
                );
            })
            .ok()
    }
}

fn is_absent(error: &watcher::Error) -> bool {
    use watcher::Error::{InitialListFailed, WatchStartFailed};
    let (InitialListFailed(error) | WatchStartFailed(error)) = error else {
        return false;
    };
    matches!(error, kube::Error::Api(status) if status.code == 404)
}
