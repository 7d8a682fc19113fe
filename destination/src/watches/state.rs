//! What a watch believes, for `/state`.

use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{sync::Arc, time::Instant};

/// The course of one watch. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct WatchState(&'static str, Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    listed: bool,
    revision: Option<String>,
    heard: Option<Instant>,
    skipped: u64,
    failure: Option<String>,
}

impl WatchState {
    /// Of a watch that has seen nothing.
    pub(super) fn new(kind: &'static str) -> Self {
        Self(kind, Arc::default())
    }

    pub(super) fn listed(&self, revision: Option<String>) {
        self.1.lock().listed = true;
        self.heard(revision);
    }

    pub(super) fn heard(&self, revision: Option<String>) {
        let mut inner = self.1.lock();
        inner.heard = Some(Instant::now());
        inner.failure = None;
        if revision.is_some() {
            inner.revision = revision;
        }
    }

    pub(super) fn skipped(&self) {
        self.1.lock().skipped += 1;
    }

    /// Notes the failure, and says whether it is news.
    pub(super) fn failed(&self, failure: String) -> bool {
        let failure = Some(failure);
        let mut inner = self.1.lock();
        let news = inner.failure != failure;
        inner.failure = failure;
        news
    }

    /// Kind, whether it was listed, the newest revision, its age, and what is wrong.
    pub(crate) fn to_json(&self) -> Value {
        let inner = self.1.lock();
        json!({
            "kind": self.0,
            "listed": inner.listed,
            "revision": inner.revision,
            "ageSeconds": inner.heard.map(|at| at.elapsed().as_secs()),
            "skipped": inner.skipped,
            "failure": inner.failure,
        })
    }
}
