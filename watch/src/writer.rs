//! Carries out actions by key.

use futures::{StreamExt as _, stream};
use std::{
    collections::{HashMap, HashSet},
    fmt::{Debug, Display},
    hash::Hash,
    time::{Duration, Instant},
};

const CONCURRENCY: usize = 16;
const ACTION_TIMEOUT: Duration = Duration::from_secs(10);
const MIN_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// Outcomes since the start, for metrics and `/state`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counters {
    /// Actions that were carried out.
    pub done: u64,
    /// Actions that failed.
    pub failed: u64,
    /// Actions that took too long.
    pub timed_out: u64,
    /// Actions held back because their key failed a moment ago.
    pub held_back: u64,
}

/// A key that failed less often has only met somebody else's write, or a hiccup.
const PERSISTENT: u32 = 3;

/// What became of a batch.
#[derive(Debug)]
pub struct Outcome<K, R> {
    /// Results of what was carried out.
    pub done: Vec<(K, R)>,
    /// Why the others failed.
    pub failed: Vec<(K, String)>,
    /// When to plan again for the sake of keys that failed.
    pub retry_at: Option<Instant>,
}

/// Remembers which keys failed, so that one bad object neither stops the others nor is hammered.
///
/// It is level-triggered: the caller plans anew from what is true now, and hands over the actions;
/// there is no queue of old intentions.
#[derive(Debug)]
pub struct Writer<K> {
    failing: HashMap<K, Failing>,
    counters: Counters,
}

#[derive(Clone, Debug)]
struct Failing {
    attempts: u32,
    until: Instant,
    error: String,
}

impl<K> Default for Writer<K> {
    fn default() -> Self {
        Self {
            failing: HashMap::new(),
            counters: Counters::default(),
        }
    }
}

impl<K: Clone + Eq + Hash + Debug + Send> Writer<K> {
    /// Carries out `actions`, at most one a key, some at a time. A key that is not among them has
    /// nothing left to do, and is forgotten.
    pub async fn run<A, R, E, F>(
        &mut self,
        actions: Vec<(K, A)>,
        act: impl Fn(A) -> F,
    ) -> Outcome<K, R>
    where
        F: Future<Output = Result<R, E>>,
        E: Display,
    {
        let now = Instant::now();
        let wanted: HashSet<&K> = actions.iter().map(|(key, _)| key).collect();
        self.failing.retain(|key, _| wanted.contains(key));
        let (due, held): (Vec<_>, Vec<_>) = actions
            .into_iter()
            .partition(|(key, _)| self.is_due(key, now));
        self.counters.held_back += held.len() as u64;
        let results: Vec<_> = stream::iter(due)
            .map(|(key, action)| {
                let acting = tokio::time::timeout(ACTION_TIMEOUT, act(action));
                async move { (key, acting.await) }
            })
            .buffer_unordered(CONCURRENCY)
            .collect()
            .await;
        let mut outcome = Outcome {
            done: Vec::new(),
            failed: Vec::new(),
            retry_at: None,
        };
        for (key, result) in results {
            match result {
                Ok(Ok(value)) => {
                    self.counters.done += 1;
                    self.failing.remove(&key);
                    outcome.done.push((key, value));
                }
                Ok(Err(error)) => {
                    self.counters.failed += 1;
                    self.fail(key.clone(), error.to_string());
                    outcome.failed.push((key, error.to_string()));
                }
                Err(_) => {
                    let error = format!("no answer within {ACTION_TIMEOUT:?}");
                    self.counters.timed_out += 1;
                    self.fail(key.clone(), error.clone());
                    outcome.failed.push((key, error));
                }
            }
        }
        let held = held.iter().map(|(key, _)| key);
        outcome.retry_at = outcome
            .failed
            .iter()
            .map(|(key, _)| key)
            .chain(held)
            .filter_map(|key| self.failing.get(key))
            .map(|failing| failing.until)
            .min();
        outcome
    }

    /// Outcomes since the start.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Keys that keep failing, each with the last error.
    pub fn failures(&self) -> impl Iterator<Item = (&K, &str)> {
        self.failing
            .iter()
            .filter(|(_, failing)| failing.attempts >= PERSISTENT)
            .map(|(key, failing)| (key, failing.error.as_str()))
    }

    fn is_due(&self, key: &K, now: Instant) -> bool {
        self.failing
            .get(key)
            .is_none_or(|failing| failing.until <= now)
    }

    fn fail(&mut self, key: K, error: String) {
        let attempts = self.failing.get(&key).map_or(0, |failing| failing.attempts);
        let backoff = MIN_BACKOFF
            .saturating_mul(1 << attempts.min(16))
            .min(MAX_BACKOFF);
        let until = Instant::now() + backoff;
        self.failing.insert(
            key,
            Failing {
                attempts: attempts + 1,
                until,
                error,
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failing_key_is_held_back_and_the_others_are_not() {
        let mut writer = Writer::default();
        let act = |fail: bool| async move { if fail { Err("no") } else { Ok(()) } };
        let first = writer.run(vec![("bad", true), ("good", false)], act).await;
        assert_eq!(first.done.len(), 1);
        assert_eq!(first.failed, [("bad", "no".to_owned())]);
        assert!(first.retry_at.is_some());
        let second = writer.run(vec![("bad", true), ("good", false)], act).await;
        assert_eq!(second.done.len(), 1);
        assert!(second.failed.is_empty(), "it is not hammered");
        assert!(second.retry_at.is_some(), "it is not forgotten");
        assert_eq!(writer.counters().held_back, 1);
    }

    #[tokio::test]
    async fn a_key_that_keeps_failing_is_named_until_nothing_is_wanted_of_it() {
        let mut writer = Writer::default();
        let fail = |()| async { Err::<(), _>("no") };
        writer.run(vec![("key", ())], fail).await;
        assert_eq!(writer.failures().count(), 0, "once is a hiccup");
        for _ in 1..PERSISTENT {
            writer.fail("key", "still no".to_owned());
        }
        assert_eq!(writer.failures().next(), Some((&"key", "still no")));
        writer.run(vec![], fail).await;
        assert_eq!(writer.failures().count(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_action_that_hangs_is_given_up() {
        let mut writer = Writer::default();
        let outcome: Outcome<_, ()> = writer
            .run(vec![("hangs", ())], |()| {
                std::future::pending::<Result<(), String>>()
            })
            .await;
        assert_eq!(outcome.failed.len(), 1);
        assert_eq!(writer.counters().timed_out, 1);
    }

    #[test]
    fn the_back_off_grows_and_is_capped() {
        let mut writer = Writer::<&str>::default();
        for _ in 0..40 {
            writer.fail("key", "no".to_owned());
        }
        let until = writer.failing["key"].until;
        assert!(until <= Instant::now() + MAX_BACKOFF);
        assert!(until > Instant::now() + MAX_BACKOFF / 2);
    }
}
