//! One watch, followed for the life of the process.

use super::WatchState;
use crate::index::{Index, Kind};
use futures::StreamExt as _;
use kube::{
    Api, Resource, ResourceExt as _,
    core::DeserializeGuard,
    runtime::watcher::{self, Event},
};
use mesh_daemon::{backoff::Backoff, readiness::Guard};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use std::{fmt::Debug, pin::pin, sync::Arc, time::Duration};

/// Bounds of the wait after a failure. Short: an API server that is back should be heard soon.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// An API server that just started does not know its custom resources for a moment; only one that
/// says so several times means it.
const ABSENT_AFTER: u32 = 4;
/// So many failures in a row, and everything is listed again.
const LIST_AFTER: u32 = 3;

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
        // Our own, as the watcher's would start over with every attempt to list.
        let mut backoff = Backoff::new(shortest, longest, 0.2);
        let mut absent = 0;
        loop {
            self.list_and_watch(&mut backoff, &mut absent).await;
        }
    }

    /// Until the server must be listed anew. The watcher asks for the revision it saw last for
    /// ever, unless an event on the stream says that it expired; a server that lost its memory
    /// never has it, and some say so in place of a stream.
    async fn list_and_watch(&mut self, backoff: &mut Backoff, absent: &mut u32) {
        let config = watcher::Config::default();
        let mut events = pin!(watcher::watcher(self.api.clone(), config));
        let mut listed = Vec::new();
        let mut refused = 0;
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitApply(object)) => listed.push(object),
                Ok(event) => {
                    (*absent, refused) = (0, 0);
                    backoff.reset();
                    self.hear(event, &mut listed);
                }
                Err(error) => {
                    *absent = if is_absent(&error) { *absent + 1 } else { 0 };
                    self.failed(&error, *absent);
                    backoff.wait().await;
                    refused += 1;
                    if is_expired(&error) || refused == LIST_AFTER {
                        return;
                    }
                }
            }
        }
    }

    fn hear(&mut self, event: Event<DeserializeGuard<K>>, listed: &mut Vec<DeserializeGuard<K>>) {
        match event {
            Event::Init | Event::InitApply(_) => {}
            Event::InitDone => self.reset(std::mem::take(listed)),
            Event::Apply(object) => self.apply(object),
            Event::Delete(object) => self.delete(&object),
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
    status(error).is_some_and(|code| code == 404)
}

fn is_expired(error: &watcher::Error) -> bool {
    status(error).is_some_and(|code| code == 410)
}

/// What the API server said. An answer to a watch that is an error and no stream reaches us as a
/// stream that failed.
fn status(error: &watcher::Error) -> Option<u16> {
    use watcher::Error::{InitialListFailed, WatchError, WatchFailed, WatchStartFailed};
    match error {
        InitialListFailed(error) | WatchStartFailed(error) | WatchFailed(error) => match error {
            kube::Error::Api(status) => Some(status.code),
            _ => None,
        },
        WatchError(status) => Some(status.code),
        watcher::Error::NoResourceVersion => None,
    }
}
