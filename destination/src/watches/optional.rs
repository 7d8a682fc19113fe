//! A kind that a cluster may be without. Decides when not having it is known, so that serving may
//! begin; never gives up asking.

use mesh_daemon::readiness::Guard;
use mesh_watch::WatchState;
use std::cell::Cell;

/// An API server that just started does not know its custom resources for a moment; only one that
/// says so several times in a row means it.
const ABSENT_AFTER: u32 = 4;

/// Holds readiness back until the kind was listed or is known to be absent.
pub(super) struct Optional {
    kind: &'static str,
    state: WatchState,
    guard: Cell<Option<Guard>>,
    absent: Cell<u32>,
}

impl Optional {
    /// Of a kind whose watch is about to start.
    pub(super) fn new(kind: &'static str, state: WatchState, guard: Option<Guard>) -> Self {
        Self {
            kind,
            state,
            guard: Cell::new(guard),
            absent: Cell::new(0),
        }
    }

    /// To be called after every change of the state.
    pub(super) fn changed(&self) {
        if self.state.is_synced() {
            self.guard.take();
            return;
        }
        let absent = self.state.error().is_some_and(|e| e.code == Some(404));
        self.absent
            .set(if absent { self.absent.get() + 1 } else { 0 });
        if self.absent.get() >= ABSENT_AFTER && self.guard.take().is_some() {
            tracing::info!(
                kind = self.kind,
                "not installed in this cluster; policies of this kind have no effect"
            );
        }
    }
}
