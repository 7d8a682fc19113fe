//! Answers that are kept fresh while somebody watches them.

use super::store::{Dep, Touched};
use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
};
use tokio::sync::watch;

/// Below this many answers it is not worth looking for forgotten ones.
const SWEEP_FROM: usize = 64;

/// Answers of one kind, by question.
#[derive(Debug)]
pub(crate) struct Views<K, V> {
    entries: HashMap<K, Entry<V>>,
    /// Which questions to ask again when something changes.
    rests_on: HashMap<Dep, HashSet<K>>,
    /// Sweep when this many are kept; doubles with those still watched.
    sweep_at: usize,
}

#[derive(Debug)]
struct Entry<V> {
    answer: watch::Sender<V>,
    read: Touched,
}

impl<K, V> Default for Views<K, V> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            rests_on: HashMap::new(),
            sweep_at: SWEEP_FROM,
        }
    }
}

impl<K: Clone + Eq + Hash, V: PartialEq> Views<K, V> {
    /// The answer to `key`, computed now if nobody asked before, and every later one.
    pub(super) fn watch(
        &mut self,
        key: K,
        compute: impl FnOnce(&K) -> (V, Touched),
    ) -> watch::Receiver<V> {
        if let Some(entry) = self.entries.get(&key) {
            return entry.answer.subscribe();
        }
        self.sweep();
        let (answer, read) = compute(&key);
        let (answer, receiver) = watch::channel(answer);
        self.link(&key, &read);
        self.entries.insert(key, Entry { answer, read });
        receiver
    }

    /// Computes again what rests on something touched, and publishes what differs.
    pub(super) fn publish(&mut self, touched: &Touched, compute: impl Fn(&K) -> (V, Touched)) {
        let stale: HashSet<K> = touched
            .iter()
            .filter_map(|dep| self.rests_on.get(dep))
            .flatten()
            .cloned()
            .collect();
        for key in stale {
            let Some(entry) = self.entries.get_mut(&key) else {
                continue;
            };
            if entry.answer.receiver_count() == 0 {
                self.forget(&key);
                continue;
            }
            let (answer, read) = compute(&key);
            entry.answer.send_if_modified(|current| {
                let differs = *current != answer;
                if differs {
                    *current = answer;
                }
                differs
            });
            let before = std::mem::replace(&mut entry.read, read.clone());
            self.unlink(&key, before.difference(&read));
            self.link(&key, &read);
        }
    }

    /// How many answers are kept.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    fn sweep(&mut self) {
        if self.entries.len() < self.sweep_at {
            return;
        }
        let forgotten: Vec<K> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.answer.receiver_count() == 0)
            .map(|(key, _)| key.clone())
            .collect();
        for key in forgotten {
            self.forget(&key);
        }
        self.sweep_at = SWEEP_FROM.max(2 * self.entries.len());
    }

    fn forget(&mut self, key: &K) {
        if let Some(entry) = self.entries.remove(key) {
            self.unlink(key, entry.read.iter());
        }
    }

    fn link(&mut self, key: &K, read: &Touched) {
        for dep in read {
            let keys = self.rests_on.entry(dep.clone()).or_default();
            keys.insert(key.clone());
        }
    }

    fn unlink<'d>(&mut self, key: &K, deps: impl Iterator<Item = &'d Dep>) {
        for dep in deps {
            if let Some(keys) = self.rests_on.get_mut(dep) {
                keys.remove(key);
                if keys.is_empty() {
                    self.rests_on.remove(dep);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};

    fn dep(n: u8) -> Dep {
        Dep::Address(IpAddr::V4(Ipv4Addr::new(10, 0, 0, n)))
    }

    #[test]
    fn an_answer_is_published_only_when_it_changed() {
        let mut views = Views::<&str, u32>::default();
        let mut watch = views.watch("q", |_| (1, Touched::from([dep(1)])));
        views.publish(&Touched::from([dep(1)]), |_| (1, Touched::from([dep(1)])));
        assert!(!watch.has_changed().unwrap());
        views.publish(&Touched::from([dep(1)]), |_| (2, Touched::from([dep(2)])));
        assert_eq!(*watch.borrow_and_update(), 2);
        views.publish(&Touched::from([dep(1)]), |_| panic!("rests on it no more"));
        views.publish(&Touched::from([dep(2)]), |_| (3, Touched::new()));
        assert_eq!(*watch.borrow_and_update(), 3);
        assert!(views.rests_on.is_empty());
    }

    #[test]
    fn answers_nobody_watches_are_forgotten() {
        let mut views = Views::<usize, u32>::default();
        for key in 0..10 * SWEEP_FROM {
            drop(views.watch(key, |_| (0, Touched::from([dep(1)]))));
        }
        assert!(views.len() <= SWEEP_FROM);
        views.publish(&Touched::from([dep(1)]), |_| panic!("nobody asks"));
        assert_eq!(views.len(), 0);
        assert!(views.rests_on.is_empty());
    }
}
