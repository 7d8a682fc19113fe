//! Following changes. A watch holds a revision, not a queue: it reads what came after from the
//! table's history, so that a slow reader costs nothing and learns that it was too slow (410).

use super::{Event, EventKind, ResourceKey, Store, Table};
use crate::status::ApiError;
use std::collections::VecDeque;

/// Events copied out of the history under one lock.
const BATCH: usize = 256;

/// The changes of one kind, in order, none left out.
pub struct WatchStream {
    store: Store,
    key: ResourceKey,
    /// Everything up to here was handed out or is in `ready`.
    seen: u64,
    ready: VecDeque<Event>,
    changed: tokio::sync::watch::Receiver<u64>,
}

pub(super) fn start(
    store: &Store,
    key: &ResourceKey,
    from: Option<u64>,
) -> Result<WatchStream, ApiError> {
    let mut data = store.shared.data.write();
    let (revision, floor) = (data.revision, data.floor);
    let table = data
        .tables
        .entry(key.clone())
        .or_insert_with(|| Table::new(floor));
    let mut ready = VecDeque::new();
    let seen = match from {
        Some(from) if from < table.oldest() || from > revision => {
            return Err(ApiError::expired(from, table.oldest()));
        }
        Some(from) => from,
        None => {
            ready.extend(table.list(None).into_iter().map(|object| Event {
                revision: super::write::revision_of(&object).unwrap_or(revision),
                kind: EventKind::Added,
                object,
                previous: None,
            }));
            revision
        }
    };
    let changed = table.subscribe();
    drop(data);
    Ok(WatchStream {
        store: store.clone(),
        key: key.clone(),
        seen,
        ready,
        changed,
    })
}

impl WatchStream {
    /// The next change; waits for it. After an error (410: fell too far behind) list anew.
    ///
    /// Cancel safe.
    pub async fn next(&mut self) -> Result<Event, ApiError> {
        loop {
            if let Some(event) = self.try_next()? {
                return Ok(event);
            }
            if self.changed.changed().await.is_err() {
                return Err(ApiError::internal("the store is gone"));
            }
        }
    }

    /// The next change, if it has happened.
    pub fn try_next(&mut self) -> Result<Option<Event>, ApiError> {
        if self.ready.is_empty() {
            self.changed.mark_unchanged();
            let data = self.store.shared.data.read();
            let Some(table) = data.tables.get(&self.key) else {
                return Ok(None);
            };
            let Some(events) = table.after(self.seen, BATCH) else {
                return Err(ApiError::expired(self.seen, table.oldest()));
            };
            // Nothing of this kind happened up to the store's revision, so a bookmark may say it.
            self.seen = match events.last() {
                Some(last) if events.len() == BATCH => last.revision,
                _ => data.revision,
            };
            self.ready.extend(events);
        }
        Ok(self.ready.pop_front())
    }

    /// The revision up to which every change was handed out.
    pub fn revision(&mut self) -> u64 {
        match self.ready.front() {
            Some(next) => next.revision.saturating_sub(1).min(self.seen),
            None => self.seen,
        }
    }
}
