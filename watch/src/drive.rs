//! The watch driver: from a Kubernetes watch to an index. The only one there is; every controller
//! that follows objects calls it. It never forgets what is known because a server fails.

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
use tokio::time::Instant;

/// Bounds of the wait after a failure. A server that is back should be heard soon.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// A watch that held for so long worked: its failure is the first of a new row.
const HELD: Duration = Duration::from_secs(10);

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
/// itself, and one that was readable before keeps that state until the next list. The index is
/// reset as a whole whenever the server is listed anew, which is after every failure.
///
/// `changed` is called after every change of the index or of the watch's state.
pub async fn drive<K, I>(source: Source<K>, index: Arc<Mutex<I>>, changed: impl Fn() + Send)
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    I: Index<K>,
{
    let mut follower = Follower {
        api: source.api,
        config: source.config,
        state: source.state,
        guard: source.guard,
        index,
        changed,
        known: BTreeSet::new(),
        listed: Vec::new(),
        revision: None,
    };
    // Our own: it lasts over attempts to list, which may well succeed where the watch never does.
    let mut backoff = Backoff::new(RETRY.0, RETRY.1, 0.2);
    loop {
        let Some((error, held)) = follower.follow().await else {
            return;
        };
        if held >= HELD {
            backoff.reset();
        }
        follower.failed(&error);
        backoff.wait().await;
        // Listed anew, by a new watcher: kube's asks for the revision it saw last for ever where a
        // server answers the request, and not an event, with 410; and a watch that it resumes
        // silently would never tell that it works.
    }
}

/// One watch and what it knows.
struct Follower<K, I, F> {
    api: Api<DeserializeGuard<K>>,
    config: watcher::Config,
    state: WatchState,
    guard: Option<Guard>,
    index: Arc<Mutex<I>>,
    changed: F,
    known: BTreeSet<(Option<String>, String)>,
    listed: Vec<K>,
    revision: Option<String>,
}

impl<K, I, F> Follower<K, I, F>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    I: Index<K>,
    F: Fn() + Send,
{
    /// Lists and watches until that fails; why, and how long the watch held.
    async fn follow(&mut self) -> Option<(watcher::Error, Duration)> {
        let mut events = pin!(watcher::watcher(self.api.clone(), self.config.clone()));
        let mut listed: Option<Instant> = None;
        loop {
            match events.next().await? {
                Ok(event) => {
                    if matches!(event, Event::InitDone) {
                        listed = Some(Instant::now());
                    }
                    self.hear(event);
                }
                Err(error) => return Some((error, listed.map_or(Duration::ZERO, |l| l.elapsed()))),
            }
        }
    }

    fn hear(&mut self, event: Event<DeserializeGuard<K>>) {
        match event {
            Event::Init => {
                self.listed.clear();
                self.revision = None;
                return;
            }
            Event::InitApply(object) => {
                let revision = object.resource_version();
                self.revision = newest(self.revision.take(), revision);
                self.listed.extend(self.read(object));
                return;
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
        (self.changed)();
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
        (self.changed)();
    }

    fn read(&self, object: DeserializeGuard<K>) -> Option<K> {
        match object.0 {
            Ok(object) => Some(object),
            Err(invalid) => {
                let name = invalid.metadata.name.as_deref().unwrap_or_default();
                let namespace = invalid.metadata.namespace.as_deref().unwrap_or_default();
                let (watch, error) = (self.state.name(), &invalid.error);
                tracing::warn!(watch, namespace, name, %error, "skipped an unreadable object");
                self.state.skipped();
                None
            }
        }
    }
}

/// Of objects that were listed, in no order of theirs.
fn newest(one: Option<String>, other: Option<String>) -> Option<String> {
    let number = |revision: &String| revision.parse::<u64>().ok();
    [one, other].into_iter().flatten().max_by_key(number)
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

#[cfg(test)]
mod tests;
