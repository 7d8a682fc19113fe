//! Keeping a store at what the control plane trusts.

use crate::{Store, TrustAnchors};
use mesh_federation::{TrustBundle, WatchTrustBundle, WatchTrustBundleRequest};
use rustls_pki_types::CertificateDer;
use std::time::Duration;
use tonic::{Code, Status, transport::Channel};

/// Pauses between attempts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pauses {
    /// Bounds of the wait after a failure; it doubles.
    pub(crate) retry: (Duration, Duration),
    /// Until a control plane that lacks the service is asked again: it may have been upgraded.
    pub(crate) unimplemented: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Self {
            retry: (Duration::from_secs(1), Duration::from_secs(30)),
            unimplemented: Duration::from_secs(10 * 60),
        }
    }
}

/// Keeps the store trusting what the server tells, for ever.
pub(crate) async fn follow(store: &Store, channel: Channel, pauses: Pauses) {
    let mut failures = 0_u32;
    loop {
        let mut heard = false;
        let ended = watch(store, channel.clone(), &mut heard).await;
        if heard {
            failures = 0;
        }
        let pause = match ended {
            Err(status) if status.code() == Code::Unimplemented => {
                tracing::debug!(
                    "the control plane tells no trust bundles; they stay as configured"
                );
                pauses.unimplemented
            }
            ended => {
                let (first, most) = pauses.retry;
                let pause = first.saturating_mul(1 << failures.min(16)).min(most);
                failures = failures.saturating_add(1);
                let reason = ended.err().map(|status| status.message().to_owned());
                tracing::debug!(?reason, ?pause, "the watch of the trust bundle ended");
                pause
            }
        };
        tokio::time::sleep(pause).await;
    }
}

pub(super) async fn watch(store: &Store, channel: Channel, heard: &mut bool) -> Result<(), Status> {
    let question = WatchTrustBundleRequest {};
    let answer = mesh_federation::watch::<WatchTrustBundle>(channel, question).await?;
    let mut bundles = answer.into_inner();
    while let Some(bundle) = bundles.message().await? {
        *heard = true;
        if let Err(problem) = take_over(store, bundle) {
            tracing::warn!(
                problem,
                "an unusable trust bundle came; the anchors stay as they are"
            );
        }
    }
    Ok(())
}

/// An empty bundle is a mistake: silence never means that nobody is trusted.
pub(super) fn take_over(store: &Store, bundle: TrustBundle) -> Result<(), String> {
    let certificates = bundle.certificates.into_iter().map(CertificateDer::from);
    let anchors = TrustAnchors::from_der(certificates.collect()).map_err(|e| e.to_string())?;
    let known = store.anchors();
    if anchors != known {
        let (before, now) = (known.certificates().len(), anchors.certificates().len());
        store.trust(anchors).map_err(|e| e.to_string())?;
        tracing::info!(before, now, "the trust anchors changed");
    } else if store.is_ready() && store.issuer().unwrap_or_default() != bundle.issuer {
        tracing::info!(issuer = bundle.issuer, "another issuer signs now");
        store.ask_renewal();
    }
    Ok(())
}
