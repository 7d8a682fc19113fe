//! The objects of one cluster, in memory (and, if wanted, in a journal): one revision for all, optimistic concurrency, and a
//! bounded history from which watches resume.
//!
//! `apiserver` and `controllers` read and write here; nobody else does. It knows names,
//! revisions, finalizers and deletion, and nothing about kinds, schemas, HTTP or users.

mod journal;
mod table;
mod watch;
mod write;

#[cfg(test)]
mod tests;

use crate::status::{ApiError, qualified};
use journal::Journal;
use parking_lot::{ReentrantMutex, RwLock};
use serde_json::Value;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use table::Table;

pub use watch::WatchStream;
pub use write::{new_uid, now};

/// What a kind of objects is stored under, whatever the version it is asked in.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceKey {
    /// API group, empty for core.
    pub group: Arc<str>,
    /// Plural name, such as `services`.
    pub plural: Arc<str>,
}

impl ResourceKey {
    /// A key.
    pub fn new(group: &str, plural: &str) -> Self {
        Self {
            group: group.into(),
            plural: plural.into(),
        }
    }

    /// A key of the core group.
    pub fn core(plural: &str) -> Self {
        Self::new("", plural)
    }
}

impl fmt::Display for ResourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&qualified(&self.group, &self.plural))
    }
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// It is new (to the watcher).
    Added,
    /// It changed.
    Modified,
    /// It is gone; the event carries its last state at the revision of its deletion.
    Deleted,
}

/// One change.
#[derive(Clone, Debug)]
pub struct Event {
    /// The store's revision after the change; also the object's `resourceVersion`.
    pub revision: u64,
    /// What happened.
    pub kind: EventKind,
    /// The object after the change.
    pub object: Arc<Value>,
    /// The object before the change, from which a filtered watch tells entering and leaving.
    pub previous: Option<Arc<Value>>,
}

/// What becomes of the objects owned by a deleted one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// They are collected afterwards.
    Background,
    /// They go first: the owner waits with finalizer `foregroundDeletion`.
    Foreground,
    /// They stay: the owner waits with finalizer `orphan` until they are let go.
    Orphan,
}

/// How to delete.
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    /// Delete only the object with this uid.
    pub uid: Option<String>,
    /// Delete only this revision of the object.
    pub resource_version: Option<String>,
    /// What becomes of dependents; the default is background.
    pub propagation: Option<Propagation>,
    /// Pods bound to a node stay for that long so the node can stop them; 0 removes at once.
    pub grace_period_seconds: Option<u64>,
    /// Check and answer, but change nothing.
    pub dry_run: bool,
}

/// The outcome of a deletion.
#[derive(Clone, Debug)]
pub enum Deleted {
    /// Gone; the last state.
    Removed(Arc<Value>),
    /// Marked; it goes when its finalizers (or its node) let it.
    Terminating(Arc<Value>),
}

/// The store. Clones share it.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    /// Held by whoever writes, from reading what it bases its write on until the write is done.
    /// Reentrant: a writer's closure may write other objects.
    writer: ReentrantMutex<()>,
    data: RwLock<Data>,
    /// How many events each resource remembers.
    history: usize,
    revision: tokio::sync::watch::Sender<u64>,
}

struct Data {
    revision: u64,
    /// Events up to here are forgotten for tables that do not exist yet.
    floor: u64,
    tables: HashMap<ResourceKey, Table>,
    journal: Option<Journal>,
}

/// Namespace (empty for cluster-scoped objects) and name.
type ObjectKey = (Box<str>, Box<str>);

fn object_key(ns: Option<&str>, name: &str) -> ObjectKey {
    (ns.unwrap_or_default().into(), name.into())
}

impl Default for Store {
    fn default() -> Self {
        Self::new(4096)
    }
}

impl Store {
    /// An empty store that remembers `history` events of each resource.
    pub fn new(history: usize) -> Self {
        let data = Data {
            revision: 1,
            floor: 1,
            tables: HashMap::new(),
            journal: None,
        };
        Self::with(data, history)
    }

    /// A store that keeps its objects in a folder, and starts with those it finds there.
    pub fn open(dir: &Path, history: usize) -> io::Result<Self> {
        let (journal, held) = Journal::open(dir)?;
        // A watch cannot resume from before the start: what happened until then is not known.
        let revision = held.revision + 1;
        let tables = held.objects.into_iter().map(|(key, objects)| {
            let mut table = Table::new(revision);
            table.objects = objects;
            (key, table)
        });
        let tables = tables.collect();
        Ok(Self::with(
            Data {
                revision,
                floor: revision,
                tables,
                journal: Some(journal),
            },
            history,
        ))
    }

    fn with(data: Data, history: usize) -> Self {
        let (revision, _) = tokio::sync::watch::channel(data.revision);
        let writer = ReentrantMutex::new(());
        let data = RwLock::new(data);
        Self {
            shared: Arc::new(Shared {
                writer,
                data,
                history: history.max(1),
                revision,
            }),
        }
    }

    /// The present revision.
    pub fn revision(&self) -> u64 {
        self.shared.data.read().revision
    }

    /// Wakes on every write, whatever it wrote.
    pub fn changed(&self) -> tokio::sync::watch::Receiver<u64> {
        self.shared.revision.subscribe()
    }

    /// Runs `f` while nobody else writes, so that what it reads is still true when it writes.
    pub fn exclusive<R>(&self, f: impl FnOnce() -> R) -> R {
        let _writer = self.shared.writer.lock();
        f()
    }

    /// One object.
    pub fn get(&self, key: &ResourceKey, ns: Option<&str>, name: &str) -> Option<Arc<Value>> {
        let data = self.shared.data.read();
        data.tables
            .get(key)?
            .objects
            .get(&object_key(ns, name))
            .cloned()
    }

    /// All objects of a kind (`ns: None`) or those of a namespace, by namespace and name, and the
    /// revision this is the state of.
    pub fn list(&self, key: &ResourceKey, ns: Option<&str>) -> (Vec<Arc<Value>>, u64) {
        let data = self.shared.data.read();
        let objects = data.tables.get(key).map(|t| t.list(ns)).unwrap_or_default();
        (objects, data.revision)
    }

    /// The objects as they were at an earlier revision; `None` when that is forgotten.
    pub fn list_at(
        &self,
        key: &ResourceKey,
        ns: Option<&str>,
        revision: u64,
    ) -> Option<Vec<Arc<Value>>> {
        let data = self.shared.data.read();
        match data.tables.get(key) {
            Some(table) => table.list_at(ns, revision),
            None => (revision >= data.floor).then(Vec::new),
        }
    }

    /// Every kind that ever had an object.
    pub fn keys(&self) -> Vec<ResourceKey> {
        let data = self.shared.data.read();
        let mut keys: Vec<_> = data.tables.keys().cloned().collect();
        keys.sort();
        keys
    }

    /// Follows the changes of a kind after revision `from`; without `from` what exists comes
    /// first, as `Added`. Fails with 410 when `from` is forgotten, or was never reached.
    pub fn watch(&self, key: &ResourceKey, from: Option<u64>) -> Result<WatchStream, ApiError> {
        watch::start(self, key, from)
    }
}
