//! The objects of one kind and the changes it remembers.

use super::{Event, EventKind, ObjectKey};
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

pub(super) struct Table {
    pub(super) objects: BTreeMap<ObjectKey, Arc<Value>>,
    history: VecDeque<Event>,
    /// Every event after this revision is in `history`.
    oldest: u64,
    changed: tokio::sync::watch::Sender<u64>,
}

impl Table {
    pub(super) fn new(oldest: u64) -> Self {
        let (changed, _) = tokio::sync::watch::channel(oldest);
        Self {
            objects: BTreeMap::new(),
            history: VecDeque::new(),
            oldest,
            changed,
        }
    }

    pub(super) fn list(&self, ns: Option<&str>) -> Vec<Arc<Value>> {
        match ns {
            None => self.objects.values().cloned().collect(),
            Some(ns) => {
                let first: ObjectKey = (ns.into(), "".into());
                let of_ns = self
                    .objects
                    .range(first..)
                    .take_while(|((n, _), _)| &**n == ns);
                of_ns.map(|(_, object)| object.clone()).collect()
            }
        }
    }

    pub(super) fn subscribe(&self) -> tokio::sync::watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The oldest revision a watch can resume from.
    pub(super) fn oldest(&self) -> u64 {
        self.oldest
    }

    /// The events after `from`, at most `limit`; `None` when some of them are forgotten.
    pub(super) fn after(&self, from: u64, limit: usize) -> Option<Vec<Event>> {
        if from < self.oldest {
            return None;
        }
        let first = self.history.partition_point(|e| e.revision <= from);
        Some(self.history.range(first..).take(limit).cloned().collect())
    }

    /// The objects as they were at an earlier revision; `None` when that is forgotten.
    pub(super) fn list_at(&self, ns: Option<&str>, revision: u64) -> Option<Vec<Arc<Value>>> {
        if revision < self.oldest {
            return None;
        }
        let mut then: BTreeMap<(&str, &str), &Arc<Value>> = self
            .objects
            .iter()
            .map(|((ns, name), obj)| ((&**ns, &**name), obj))
            .collect();
        for event in self
            .history
            .iter()
            .rev()
            .take_while(|e| e.revision > revision)
        {
            let metadata = &event.object["metadata"];
            let text = |key: &str| metadata[key].as_str().unwrap_or_default();
            let at = (text("namespace"), text("name"));
            match &event.previous {
                Some(previous) => then.insert(at, previous),
                None => then.remove(&at),
            };
        }
        let wanted = then
            .into_iter()
            .filter(|((of, _), _)| ns.is_none_or(|ns| ns == *of));
        Some(wanted.map(|(_, object)| object.clone()).collect())
    }

    /// Applies and remembers a change; forgets what is beyond `keep`.
    pub(super) fn apply(&mut self, key: ObjectKey, event: Event, keep: usize) {
        if event.kind == EventKind::Deleted {
            self.objects.remove(&key);
        } else {
            self.objects.insert(key, event.object.clone());
        }
        let revision = event.revision;
        self.history.push_back(event);
        while self.history.len() > keep {
            if let Some(forgotten) = self.history.pop_front() {
                self.oldest = forgotten.revision;
            }
        }
        self.changed.send_replace(revision);
    }
}
