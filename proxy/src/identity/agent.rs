//! Following what an agent says of us.

use std::convert::Infallible;

use mesh_daemon::backoff;
use mesh_tls::{InstallError, Store, WorkloadApi, WorkloadApiError};

use crate::{config::Backoff, metrics::Metrics};

#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Api(#[from] WorkloadApiError),
    #[error("the agent's certificate cannot be used: {0}")]
    Install(#[from] InstallError),
    #[error("the agent ended the stream")]
    Regularly,
}

/// Takes whatever the agent sends for us, and asks again when it stops.
pub(super) async fn follow(
    api: &WorkloadApi,
    pauses: Backoff,
    store: &Store,
    metrics: &Metrics,
) -> Infallible {
    let mut pause = backoff::Backoff::new(pauses.min, pauses.max, pauses.jitter);
    let mut failures = 0_u32;
    loop {
        let mut heard = false;
        let ended = one_stream(api, store, metrics, &mut heard).await;
        if heard {
            pause.reset();
            failures = 0;
        }
        metrics.not_certified();
        failures = failures.saturating_add(1);
        // Asked every second, an agent that is away for long would fill the log.
        match failures.is_power_of_two() {
            true => tracing::warn!(id = %store.id(), failures, "{ended}"),
            false => tracing::debug!(id = %store.id(), failures, "{ended}"),
        }
        pause.wait().await;
    }
}

async fn one_stream(
    api: &WorkloadApi,
    store: &Store,
    metrics: &Metrics,
    heard: &mut bool,
) -> Ended {
    let followed = async {
        let mut svids = api.watch().await?;
        while let Some(svid) = svids.next(store.id()).await? {
            let expires = svid.certified.valid_until;
            store.adopt(svid)?;
            metrics.certified(Some(expires));
            tracing::info!(id = %store.id(), "certified by the agent");
            *heard = true;
        }
        Ok(())
    };
    match followed.await {
        Ok(()) => Ended::Regularly,
        Err(ended) => ended,
    }
}
