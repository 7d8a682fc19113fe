//! The loop all controllers share: changes become keys, keys are reconciled against the store as it
//! is then, each by one at a time; who waits for a webhook does not keep the others. A key that fails comes back later, and sooner when something about it
//! changes. Nothing is polled.

use super::objects::Key;
use crate::status::ApiError;
use crate::store::{Event, ResourceKey, Store, WatchStream};
use futures::future::{pending, select_all};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use mesh_daemon::Shutdown;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// How many keys of a controller are worked on at a time.
const WORKERS: usize = 8;

/// When to look again although nothing may have changed by then.
type Outcome = Result<Option<Duration>, ApiError>;

/// One controller: level-triggered, so that it may be asked about any key at any time, also about
/// objects that are gone.
pub(super) trait Controller: Send + Sync + 'static {
    /// For logs.
    fn name(&self) -> &'static str;
    /// The kinds whose changes matter.
    fn sources(&self) -> Vec<ResourceKey>;
    /// Which keys an object of such a kind concerns. Asked about objects before and after a
    /// change.
    fn touched(&self, source: &ResourceKey, object: &Value) -> Vec<Key>;
    /// Brings the world nearer to what `key` wants; answers when to look again although nothing
    /// may have changed by then.
    fn reconcile(&self, key: &Key) -> impl Future<Output = Outcome> + Send;
}

/// Runs a controller until the shutdown.
pub(super) async fn run<C: Controller>(store: Store, controller: C, shutdown: Shutdown) {
    let mut streams: Vec<Source> = controller
        .sources()
        .into_iter()
        .map(|key| Source::new(&store, key))
        .collect();
    let mut queue = Queue::default();
    let mut running = FuturesUnordered::new();
    loop {
        for source in &mut streams {
            while let Some(event) = source.try_next(&store) {
                queue.extend(touched(&controller, &source.key, &event));
            }
        }
        while running.len() < WORKERS
            && let Some(key) = queue.pop()
        {
            running.push(work(&controller, key));
        }
        if let Some(Some((key, outcome))) = running.next().now_or_never() {
            queue.done(key, outcome);
            tokio::task::yield_now().await;
            continue;
        }
        let due = queue.due();
        let timer = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => pending().await,
            }
        };
        let next = select_all(streams.iter_mut().map(|s| s.changed().boxed()));
        tokio::select! {
            () = shutdown.requested() => return,
            () = timer => {}
            _ = next => {}
            Some((key, outcome)) = running.next() => queue.done(key, outcome),
        }
    }
}

async fn work<C: Controller>(controller: &C, key: Key) -> (Key, Outcome) {
    let outcome = controller.reconcile(&key).await;
    if let Err(fault) = &outcome {
        let (controller, ns, name) = (controller.name(), &key.ns, &key.name);
        tracing::debug!(controller, ns, name, %fault, "will try again");
    }
    (key, outcome)
}

fn touched<C: Controller>(controller: &C, source: &ResourceKey, event: &Event) -> Vec<Key> {
    let mut keys = controller.touched(source, &event.object);
    if let Some(previous) = &event.previous {
        keys.extend(controller.touched(source, previous));
    }
    keys
}

/// A watch that starts anew when it fell behind; what exists is then seen as added.
struct Source {
    key: ResourceKey,
    stream: Option<WatchStream>,
    ready: Option<Event>,
}

impl Source {
    fn new(store: &Store, key: ResourceKey) -> Self {
        let stream = store.watch(&key, None).ok();
        Self {
            key,
            stream,
            ready: None,
        }
    }

    fn try_next(&mut self, store: &Store) -> Option<Event> {
        if let Some(event) = self.ready.take() {
            return Some(event);
        }
        let stream = self.stream.as_mut()?;
        match stream.try_next() {
            Ok(event) => event,
            Err(behind) => {
                tracing::debug!(kind = %self.key, %behind, "watch starts anew");
                self.stream = store.watch(&self.key, None).ok();
                self.stream.as_mut()?.try_next().ok()?
            }
        }
    }

    /// Resolves when there may be something to read.
    async fn changed(&mut self) {
        match &mut self.stream {
            // A failed read is repeated, and mended, by `try_next`.
            Some(stream) => self.ready = stream.next().await.ok(),
            None => pending().await,
        }
    }
}

/// Keys to look at now and later.
#[derive(Default)]
struct Queue {
    now: BTreeSet<Key>,
    later: BTreeMap<Instant, Vec<Key>>,
    failures: HashMap<Key, u32>,
    /// Those being worked on; they wait for their turn to end.
    busy: BTreeSet<Key>,
}

impl Queue {
    fn extend(&mut self, keys: Vec<Key>) {
        self.now.extend(keys);
    }

    fn pop(&mut self) -> Option<Key> {
        let now = Instant::now();
        while let Some(entry) = self.later.first_entry()
            && *entry.key() <= now
        {
            self.now.extend(entry.remove());
        }
        let key = self
            .now
            .iter()
            .find(|key| !self.busy.contains(key))?
            .clone();
        self.now.remove(&key);
        self.busy.insert(key.clone());
        Some(key)
    }

    fn due(&self) -> Option<Instant> {
        self.later.keys().next().copied()
    }

    fn done(&mut self, key: Key, outcome: Outcome) {
        self.busy.remove(&key);
        let again = match outcome {
            Ok(again) => {
                self.failures.remove(&key);
                again
            }
            Err(_) => {
                let failures = self.failures.entry(key.clone()).or_default();
                *failures += 1;
                let factor = 2u32.saturating_pow((*failures - 1).min(16));
                Some(RETRY_MIN.saturating_mul(factor).min(RETRY_MAX))
            }
        };
        if let Some(again) = again {
            self.later
                .entry(Instant::now() + again)
                .or_default()
                .push(key);
        }
    }
}
