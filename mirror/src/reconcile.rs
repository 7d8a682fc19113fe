//! The loop: plans on every change, and writes while this process holds the lease.

use crate::{
    apply::apply,
    farewell,
    local::Follower,
    metrics::Metrics,
    plan::{Action, Input, ObjectKey, Plan, diff},
    tell::Teller,
};
use kube::{Api, Client};
use mesh_clusters::Links;
use mesh_watch::{Writer, said};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Changes that come together are planned for together.
const DEBOUNCE: Duration = Duration::from_millis(20);
/// Even if no watch says so, everything is planned for again.
const RESYNC: Duration = Duration::from_secs(60);
/// Time until what could not be told is tried again.
const TELL_AGAIN: Duration = Duration::from_secs(1);
/// Services, then their slices, then a look at what the first two brought about.
const STEPS: usize = 3;

/// What the loop works with.
pub(crate) struct Parts {
    pub(crate) client: Client,
    /// Namespace of the Links.
    pub(crate) namespace: String,
    /// Name of this process, for Events.
    pub(crate) pod: String,
    pub(crate) follower: Follower,
    pub(crate) links: Links,
    pub(crate) metrics: Metrics,
    /// Whether headless Services are mirrored as such.
    pub(crate) headless: bool,
    /// Whether this process may write.
    pub(crate) held: watch::Receiver<bool>,
}

/// The loop and what it remembers.
pub(crate) struct Mirror {
    parts: Parts,
    writer: Writer<ObjectKey>,
    teller: Teller,
}

impl Mirror {
    pub(crate) fn new(parts: Parts) -> Self {
        let teller = Teller::new(&parts.client, &parts.namespace, &parts.pod);
        Self {
            parts,
            writer: Writer::default(),
            teller,
        }
    }

    /// Runs until dropped.
    pub(crate) async fn run(mut self, mut local_changes: watch::Receiver<()>) {
        let mut remote_changes = self.parts.links.changes();
        let mut held = self.parts.held.clone();
        loop {
            let retry_at = self.pass().await;
            let pause = retry_at.map_or(RESYNC, |at| at.saturating_duration_since(Instant::now()));
            tokio::select! {
                _ = local_changes.changed() => {}
                _ = remote_changes.changed() => {}
                _ = held.changed() => {}
                () = tokio::time::sleep(pause) => {}
            }
            tokio::time::sleep(DEBOUNCE).await;
            local_changes.borrow_and_update();
            remote_changes.borrow_and_update();
            held.borrow_and_update();
        }
    }

    /// Plans and writes until nothing is left to do; when to come back for the sake of what failed.
    async fn pass(&mut self) -> Option<Instant> {
        let remotes = self.parts.links.states();
        self.parts.metrics.record(&remotes, self.writer.counters());
        if !*self.parts.held.borrow() {
            // Somebody else may write meanwhile.
            self.teller.forget();
            return None;
        }
        if !self.parts.links.is_synced() {
            return None;
        }
        let links = Api::namespaced(self.parts.client.clone(), &self.parts.namespace);
        let mut told = farewell::promise(&links, &remotes).await;
        let (mut plan, mut retry_at) = (Plan::default(), None);
        for _ in 0..STEPS {
            let local = self.parts.follower.local()?;
            plan = crate::plan::plan(Input {
                remotes: &remotes,
                local: &local,
                headless: self.parts.headless,
            });
            let wrote;
            (wrote, retry_at) = self.write(diff(&plan, &local)).await;
            if !wrote {
                break;
            }
        }
        plan.note_failures(self.writer.failures());
        told &= self.teller.tell(&remotes, &plan).await;
        let leaving = self.parts.links.leaving();
        let local = self.parts.follower.local()?;
        told &= farewell::let_go(&links, &leaving, &remotes, &local).await;
        let again = (!told).then(|| Instant::now() + TELL_AGAIN);
        retry_at.into_iter().chain(again).min()
    }

    /// Whether anything was written, and when to come back for what was not.
    async fn write(&mut self, actions: Vec<(ObjectKey, Action)>) -> (bool, Option<Instant>) {
        let (client, follower) = (&self.parts.client, &self.parts.follower);
        let outcome = self
            .writer
            .run(actions, |action| async move {
                let applied = apply(client, follower, action).await;
                applied.map_err(|error| said(&error))
            })
            .await;
        for (key, ()) in &outcome.done {
            tracing::info!(?key, "written");
        }
        for (key, error) in &outcome.failed {
            tracing::warn!(?key, error, "not written; trying again");
        }
        (!outcome.done.is_empty(), outcome.retry_at)
    }
}
