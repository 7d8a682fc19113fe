//! Waiting for what is still starting.

use crate::cluster::explain;
use std::time::{Duration, Instant};

/// Why a claim does not hold.
pub(crate) enum Trouble {
    /// For now: it may soon.
    Now(anyhow::Error),
    /// Waiting will not help.
    Lasting(anyhow::Error),
}

impl Trouble {
    /// Of a request: only what is not there yet, or cannot be reached, may come by waiting.
    pub(crate) fn of(error: kube::Error, what: &str) -> Self {
        let lasting = matches!(&error, kube::Error::Api(status) if status.code != 404);
        let error = explain(error, what);
        if lasting {
            Self::Lasting(error)
        } else {
            Self::Now(error)
        }
    }
}

/// Tries a claim until it holds or can hold no more.
pub(crate) async fn retried(
    wait: Duration,
    mut claim: impl AsyncFnMut() -> Result<(), Trouble>,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + wait;
    loop {
        match claim().await {
            Ok(()) => return Ok(()),
            Err(Trouble::Lasting(error)) => return Err(error),
            Err(Trouble::Now(error)) if Instant::now() >= deadline => return Err(error),
            Err(Trouble::Now(_)) => tokio::time::sleep(Duration::from_millis(250)).await,
        }
    }
}
