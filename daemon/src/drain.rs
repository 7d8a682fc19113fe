//! How listeners and connections end: asked first, cut off at a deadline.
//!
//! The owner of a server makes the pair, gives [`Drain`] to its listeners and connections, and
//! calls [`Drainer::drain`] when the process shuts down. A listener stops accepting at
//! [`Drain::started`]; a connection takes a [`Hold`] for its life, finishes what is in flight once
//! started, and closes at [`Drain::aborted`]. One protocol, so that every listener ends alike.

use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

/// Each phase only ever follows the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Accepting.
    Serving,
    /// Not accepting; what is in flight may finish.
    Draining,
    /// The deadline has passed.
    Aborted,
}

/// The owner's side. Dropping it without draining leaves the others serving.
#[derive(Debug)]
pub struct Drainer {
    phase: watch::Sender<Phase>,
    open: Arc<watch::Sender<usize>>,
}

/// The side of listeners and connections; cheap to clone.
#[derive(Clone, Debug)]
pub struct Drain {
    phase: watch::Receiver<Phase>,
    open: Arc<watch::Sender<usize>>,
}

/// Keeps a drain waiting while a connection, or a listener, lives.
#[derive(Debug)]
pub struct Hold(Arc<watch::Sender<usize>>);

/// How a drain went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections still open when the deadline came.
    pub aborted: usize,
}

/// How long connections told to abort are given to notice.
const ABORT_GRACE: Duration = Duration::from_millis(500);

/// A connected pair.
pub fn drain() -> (Drainer, Drain) {
    let (phase_tx, phase_rx) = watch::channel(Phase::Serving);
    let open = Arc::new(watch::Sender::new(0));
    let drainer = Drainer {
        phase: phase_tx,
        open: open.clone(),
    };
    let drain = Drain {
        phase: phase_rx,
        open,
    };
    (drainer, drain)
}

impl Drainer {
    /// Asks everyone to finish, waits at most `deadline`, then tells the rest to abort.
    pub async fn drain(self, deadline: Duration) -> Drained {
        self.phase.send_replace(Phase::Draining);
        if self.emptied(deadline).await {
            return Drained { aborted: 0 };
        }
        let aborted = *self.open.borrow();
        tracing::warn!(connections = aborted, ?deadline, "drain deadline passed");
        self.phase.send_replace(Phase::Aborted);
        self.emptied(ABORT_GRACE).await;
        Drained { aborted }
    }

    async fn emptied(&self, within: Duration) -> bool {
        let mut open = self.open.subscribe();
        let emptied = open.wait_for(|open| *open == 0);
        tokio::time::timeout(within, emptied).await.is_ok()
    }
}

impl Drain {
    /// Taken by each connection, and by a listener that serves what has come to it before it closes.
    pub fn hold(&self) -> Hold {
        self.open.send_modify(|open| *open += 1);
        Hold(self.open.clone())
    }

    /// Resolves when draining starts: stop accepting, finish what is in flight.
    pub async fn started(&self) {
        self.reached(Phase::Draining).await;
    }

    /// Resolves when the deadline has passed: close now.
    pub async fn aborted(&self) {
        self.reached(Phase::Aborted).await;
    }

    /// Whether draining has started.
    pub fn is_started(&self) -> bool {
        *self.phase.borrow() >= Phase::Draining
    }

    async fn reached(&self, wanted: Phase) {
        let mut phase = self.phase.clone();
        let outcome = phase.wait_for(|phase| *phase >= wanted).await.map(drop);
        if outcome.is_err() {
            // The owner went away; it can never ask.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn connections_that_finish_end_the_drain_at_once() {
        let (drainer, drain) = drain();
        let hold = drain.hold();
        let connection = tokio::spawn(async move {
            drain.started().await;
            drop(hold);
        });
        let drained = drainer.drain(Duration::from_secs(60)).await;
        assert_eq!(drained, Drained { aborted: 0 });
        connection.await.unwrap();
    }

    #[tokio::test]
    async fn connections_that_do_not_finish_are_told_to_abort_at_the_deadline() {
        let (drainer, drain) = drain();
        let hold = drain.hold();
        let connection = tokio::spawn(async move {
            drain.started().await;
            drain.aborted().await;
            drop(hold);
        });
        let drained = drainer.drain(Duration::from_millis(20)).await;
        assert_eq!(drained, Drained { aborted: 1 });
        connection.await.unwrap();
    }

    #[tokio::test]
    async fn nothing_open_drains_at_once() {
        let (drainer, drain) = drain();
        assert!(!drain.is_started());
        let waiting = drain.clone();
        let waiting = tokio::spawn(async move { waiting.started().await });
        assert_eq!(drainer.drain(Duration::from_secs(60)).await.aborted, 0);
        // The owner is gone, but whoever asks later still learns that draining started.
        drain.started().await;
        assert!(drain.is_started());
        waiting.await.unwrap();
    }
}
