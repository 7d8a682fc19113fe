//! The end of a process's life, as a value handed to everything that serves.
//!
//! `main` makes the pair and gives the trigger to `on_signals`; servers and loops hold a
//! `Shutdown` and stop when it is requested. It never kills anything: draining is `drain`'s job.

use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Tells a process, or a part of it, to stop. Clones trigger the same shutdown.
#[derive(Clone, Debug)]
pub struct Trigger(Arc<watch::Sender<bool>>);

/// The receiving side: cheap to clone, may be awaited any number of times.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

/// A connected pair. If every `Trigger` is dropped unused, the shutdown is never requested.
pub fn shutdown() -> (Trigger, Shutdown) {
    let (tx, rx) = watch::channel(false);
    (Trigger(Arc::new(tx)), Shutdown(rx))
}

impl Trigger {
    /// Requests the shutdown; further calls change nothing.
    pub fn shutdown(&self) {
        self.0.send_replace(true);
    }
}

impl Shutdown {
    /// Resolves once the shutdown is requested, at once if it already is.
    pub async fn requested(&self) {
        let mut rx = self.0.clone();
        if rx.wait_for(|requested| *requested).await.is_err() {
            // Nobody is left who could ask.
            std::future::pending::<()>().await;
        }
    }

    /// Whether the shutdown was requested.
    pub fn is_requested(&self) -> bool {
        *self.0.borrow()
    }
}

/// Waits for SIGTERM or SIGINT, then requests the shutdown.
///
/// From then on a second signal ends the process at once with status 130, for the person who
/// does not want to wait for the drain.
pub async fn on_signals(trigger: Trigger) {
    let (mut term, mut int) = match (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) {
        (Ok(term), Ok(int)) => (term, int),
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "cannot listen for signals; only SIGKILL will stop this process");
            return std::future::pending().await;
        }
    };
    let name = tokio::select! {
        _ = term.recv() => "SIGTERM",
        _ = int.recv() => "SIGINT",
    };
    tracing::info!(signal = name, "shutting down");
    trigger.shutdown();
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        tracing::warn!("second signal, exiting without waiting");
        std::process::exit(130);
    });
}
