//! The watch driver: from a Kubernetes watch to an index.

use crate::state::{Failure, WatchState};
use futures::StreamExt as _;
use kube::{
    Api, Resource, ResourceExt as _,
    core::DeserializeGuard,
    runtime::watcher::{self, Event},
};
use mesh_daemon::{backoff::Backoff, readiness::Guard};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use std::{collections::BTreeSet, error::Error, fmt::Debug, pin::pin, sync::Arc, time::Duration};

/// Bounds of the wait after a failure. A server that is back should be heard soon.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

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
    let mut follower = Follower {
        state: source.state,
        guard: source.guard,
        index,
        known: BTreeSet::new(),
        listed: Vec::new(),
        revision: None,
    };
    // Our own, as the watcher's would start over with every attempt to list.
    let mut backoff = Backoff::new(RETRY.0, RETRY.1, 0.2);
    loop {
        let mut events = pin!(watcher::watcher(source.api.clone(), source.config.clone()));
        let error = loop {
            match events.next().await {
                Some(Ok(event)) => {
                    // That a list was asked for says nothing of the answer.
                    if !matches!(event, Event::Init) {
                        backoff.reset();
                    }
                    if follower.hear(event) {
                        changed();
                    }
                }
                Some(Err(error)) => break error,
                None => return,
            }
        };
        follower.failed(&error);
        changed();
        backoff.wait().await;
        // Listed anew, by a new watcher: a server that restarted may have forgotten the revision
        // that was seen last, and a watch that resumes silently would never tell that it works.
    }
}

/// One watch and what it knows.
struct Follower<K, I> {
    state: WatchState,
    guard: Option<Guard>,
    index: Arc<Mutex<I>>,
    known: BTreeSet<(Option<String>, String)>,
    listed: Vec<K>,
    revision: Option<String>,
}

impl<K, I> Follower<K, I>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    I: Index<K>,
{
    /// Whether the event changed what is known.
    fn hear(&mut self, event: Event<DeserializeGuard<K>>) -> bool {
        match event {
            Event::Init => {
                self.listed.clear();
                return false;
            }
            Event::InitApply(object) => {
                self.revision = object.resource_version();
                self.listed.extend(self.read(object));
                return false;
            }
            Event::InitDone => {
                let objects = std::mem::take(&mut self.listed);
                self.known = objects.iter().map(key).collect();
                self.index.lock().reset(objects);
                self.state.saw(self.revision.take(), self.known.len(), true);
                self.guard.take();
            }
            Event::Apply(object) => {
                let revision = object.resource_version();
                if let Some(object) = self.read(object) {
                    self.known.insert(key(&object));
                    self.index.lock().apply(object);
                }
                self.state.saw(revision, self.known.len(), false);
            }
            Event::Delete(object) => {
                let (namespace, name) = (object.namespace(), object.name_any());
                self.index.lock().delete(namespace.as_deref(), &name);
                self.known.remove(&(namespace, name));
                self.state
                    .saw(object.resource_version(), self.known.len(), false);
            }
        }
        true
    }

    fn failed(&self, error: &watcher::Error) {
        let failure = Failure {
            code: status(error),
            message: chain(error),
        };
        let (watch, error) = (self.state.name(), &failure.message);
        if self.state.error().as_ref() != Some(&failure) {
            tracing::warn!(
                watch,
                error,
                "watch failed; keeping what is known, retrying"
            );
        }
        self.state.failed(failure);
    }

    fn read(&self, object: DeserializeGuard<K>) -> Option<K> {
        match object.0 {
            Ok(object) => Some(object),
            Err(invalid) => {
                let name = invalid.metadata.name.as_deref().unwrap_or_default();
                let namespace = invalid.metadata.namespace.as_deref().unwrap_or_default();
                tracing::warn!(namespace, name, error = %invalid.error, "skipped an unreadable object");
                self.state.skipped();
                None
            }
        }
    }
}

/// The code of the API server's answer, where there was one.
fn status(error: &watcher::Error) -> Option<u16> {
    use watcher::Error::{InitialListFailed, WatchError, WatchFailed, WatchStartFailed};
    match error {
        InitialListFailed(kube::Error::Api(status))
        | WatchStartFailed(kube::Error::Api(status))
        | WatchFailed(kube::Error::Api(status)) => Some(status.code),
        WatchError(status) => Some(status.code),
        _ => None,
    }
}

/// The error with all that caused it, each said once: the outer ones rarely name the reason.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

fn key<K: Resource>(object: &K) -> (Option<String>, String) {
    let meta = object.meta();
    (
        meta.namespace.clone(),
        meta.name.clone().unwrap_or_default(),
    )
}
