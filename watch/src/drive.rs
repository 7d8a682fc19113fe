//! The watch driver: from a Kubernetes watch to an index. The only one there is; every controller
//! that follows objects calls it. It never forgets what is known because a server fails, and never
//! takes silence for an answer.
//!
//! It is ours, and not kube's `watcher`, because that one asks for a forgotten revision for ever
//! where a server refuses the request instead of saying so in the stream, asks again without a
//! pause where a server ends each watch at once, and waits for minutes on a server that is silent.

use crate::{
    said::said,
    state::{Failure, WatchState},
};
use futures::StreamExt as _;
use kube::{
    Api, Resource, ResourceExt as _,
    api::{ListParams, WatchEvent, WatchParams},
    core::DeserializeGuard,
};
use mesh_daemon::{backoff::Backoff, readiness::Guard};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use std::{collections::BTreeSet, fmt::Debug, pin::pin, sync::Arc, time::Duration};
use tokio::time::{Instant, timeout};

/// Bounds of the wait after a failure. A server that is back should be heard soon.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// A watch that held for so long worked: its failure is the first of a new row.
const HELD: Duration = Duration::from_secs(10);
/// Time a server has to begin an answer, and to list a page.
const ANSWER: Duration = Duration::from_secs(20);
/// Objects of a page.
const PAGE: u32 = 500;
/// Seconds after which a server is asked to end a watch. One that did so is alive.
const WATCH_SECONDS: u32 = 20;
/// Silence after which a watch is given up: its server should have ended it.
const SILENCE: Duration = Duration::from_secs(25);
/// A watch that ends sooner was hardly one; the next waits.
const SHORT: Duration = Duration::from_secs(1);

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
    /// Which of them, by labels and fields.
    pub select: ListParams,
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
/// reset as a whole whenever the server is listed anew, which is after every failure. A server that
/// goes silent has failed within [`SILENCE`].
///
/// `changed` is called after every change of the index or of the watch's state.
pub async fn drive<K, I>(source: Source<K>, index: Arc<Mutex<I>>, changed: impl Fn() + Send)
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    I: Index<K>,
{
    let mut follower = Follower {
        api: source.api,
        select: source.select,
        state: source.state,
        guard: source.guard,
        index,
        changed,
        known: BTreeSet::new(),
    };
    // Lasts over attempts to list, which may well succeed where the watch never does.
    let mut backoff = Backoff::new(RETRY.0, RETRY.1, 0.2);
    loop {
        let (failure, held) = follower.follow().await;
        if held >= HELD {
            backoff.reset();
        }
        follower.failed(failure);
        backoff.wait().await;
    }
}

/// One watch and what it knows.
struct Follower<K, I, F> {
    api: Api<DeserializeGuard<K>>,
    select: ListParams,
    state: WatchState,
    guard: Option<Guard>,
    index: Arc<Mutex<I>>,
    changed: F,
    known: BTreeSet<(Option<String>, String)>,
}

impl<K, I, F> Follower<K, I, F>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    I: Index<K>,
    F: Fn() + Send,
{
    /// Lists and watches until that fails; why, and how long the watch held.
    async fn follow(&mut self) -> (Failure, Duration) {
        let mut revision = match self.list().await {
            Ok(revision) => revision,
            Err(failure) => return (failure, Duration::ZERO),
        };
        let listed = Instant::now();
        let mut pause = Backoff::new(RETRY.0, RETRY.1, 0.2);
        loop {
            let began = Instant::now();
            if let Err(failure) = self.watch(&mut revision).await {
                return (failure, listed.elapsed());
            }
            // Watches end, and go on from where they were.
            if began.elapsed() < SHORT {
                pause.wait().await;
            } else {
                pause.reset();
            }
        }
    }

    /// Lists everything, page by page; the revision to watch from.
    async fn list(&mut self) -> Result<String, Failure> {
        let mut params = ListParams {
            limit: Some(PAGE),
            ..self.select.clone()
        };
        let mut listed = Vec::new();
        loop {
            let page = timeout(ANSWER, self.api.list(&params)).await;
            let page = page.map_err(|_| silent(ANSWER))?.map_err(failure)?;
            listed.extend(
                page.items
                    .into_iter()
                    .filter_map(|object| self.read(object)),
            );
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params.continue_token = Some(token),
                None => {
                    let revision = page.metadata.resource_version.unwrap_or_default();
                    self.reset(listed, &revision);
                    return Ok(revision);
                }
            }
        }
    }

    fn reset(&mut self, objects: Vec<K>, revision: &str) {
        self.known = objects.iter().map(key).collect();
        self.index.lock().reset(objects);
        self.state
            .saw(Some(revision.to_owned()), self.known.len(), true);
        self.guard.take();
        (self.changed)();
    }

    /// Watches from `revision`, and moves it on, until the server ends the watch.
    async fn watch(&mut self, revision: &mut String) -> Result<(), Failure> {
        let params = WatchParams {
            label_selector: self.select.label_selector.clone(),
            field_selector: self.select.field_selector.clone(),
            timeout: Some(WATCH_SECONDS),
            ..WatchParams::default()
        };
        let events = timeout(ANSWER, self.api.watch(&params, revision)).await;
        let mut events = pin!(events.map_err(|_| silent(ANSWER))?.map_err(failure)?);
        loop {
            let event = timeout(SILENCE, events.next()).await;
            match event.map_err(|_| silent(SILENCE))? {
                None => return Ok(()),
                Some(Ok(event)) => self.hear(event, revision)?,
                Some(Err(error)) => return Err(failure(error)),
            }
        }
    }

    fn hear(
        &mut self,
        event: WatchEvent<DeserializeGuard<K>>,
        revision: &mut String,
    ) -> Result<(), Failure> {
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                advance(revision, object.resource_version())?;
                if let Some(object) = self.read(object) {
                    self.known.insert(key(&object));
                    self.index.lock().apply(object);
                }
            }
            WatchEvent::Deleted(object) => {
                advance(revision, object.resource_version())?;
                let (namespace, name) = (object.namespace(), object.name_any());
                self.index.lock().delete(namespace.as_deref(), &name);
                self.known.remove(&(namespace, name));
            }
            WatchEvent::Bookmark(bookmark) => {
                advance(revision, Some(bookmark.metadata.resource_version))?;
                self.state
                    .saw(Some(revision.clone()), self.known.len(), false);
                return Ok(());
            }
            WatchEvent::Error(status) => return Err(failure(kube::Error::Api(status))),
        }
        self.state
            .saw(Some(revision.clone()), self.known.len(), false);
        (self.changed)();
        Ok(())
    }

    fn failed(&self, failure: Failure) {
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

/// Moves the revision on. One that is lower is of a server that went back to an older state between
/// two watches, and keeps to itself what it has until it comes to where it was before.
fn advance(revision: &mut String, to: Option<String>) -> Result<(), Failure> {
    let Some(to) = to.filter(|to| !to.is_empty()) else {
        return Ok(());
    };
    // KEP-5504: revisions can be compared as numbers.
    let number = |revision: &str| revision.parse::<u128>();
    if let (Ok(from), Ok(next)) = (number(revision), number(&to))
        && next < from
    {
        return Err(Failure {
            code: None,
            message: format!("it went back from revision {from} to {next}: was it restored?"),
        });
    }
    *revision = to;
    Ok(())
}

fn silent(patience: Duration) -> Failure {
    Failure {
        code: None,
        message: format!("it did not answer within {patience:?}"),
    }
}

fn failure(error: kube::Error) -> Failure {
    let code = match &error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    };
    let message = said(&error);
    Failure { code, message }
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
