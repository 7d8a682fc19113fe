//! What a watch believes, for `/state`.

use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{sync::Arc, time::Instant};

/// Why a watch fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Code of the API server's answer; none where it did not answer.
    pub code: Option<u16>,
    /// What went wrong, with its causes.
    pub message: String,
}

/// Count, revision, age and last error of one watch. Cheap to clone; all clones are the same.
#[derive(Clone, Debug)]
pub struct WatchState(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    name: String,
    synced: bool,
    count: usize,
    skipped: u64,
    revision: Option<String>,
    last_event: Option<Instant>,
    error: Option<Failure>,
}

impl WatchState {
    /// A watch that has seen nothing yet.
    pub fn new(name: impl Into<String>) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            name: name.into(),
            synced: false,
            count: 0,
            skipped: 0,
            revision: None,
            last_event: None,
            error: None,
        })))
    }

    pub(crate) fn name(&self) -> String {
        self.0.lock().name.clone()
    }

    /// Whether the watch has seen everything once.
    pub fn is_synced(&self) -> bool {
        self.0.lock().synced
    }

    /// Why the watch is failing, until it works again.
    pub fn error(&self) -> Option<Failure> {
        self.0.lock().error.clone()
    }

    /// For `/state`.
    pub fn to_json(&self) -> Value {
        let inner = self.0.lock();
        json!({
            "watch": inner.name,
            "synced": inner.synced,
            "count": inner.count,
            "skipped": inner.skipped,
            "revision": inner.revision,
            "ageSeconds": inner.last_event.map(|at| at.elapsed().as_secs()),
            "error": inner.error.as_ref().map(|failure| &failure.message),
        })
    }

    pub(crate) fn saw(&self, revision: Option<String>, count: usize, synced: bool) {
        let mut inner = self.0.lock();
        inner.last_event = Some(Instant::now());
        inner.count = count;
        inner.synced |= synced;
        inner.error = None;
        if revision.is_some() {
            inner.revision = revision;
        }
    }

    pub(crate) fn skipped(&self) {
        self.0.lock().skipped += 1;
    }

    pub(crate) fn failed(&self, error: Failure) {
        self.0.lock().error = Some(error);
    }
}
