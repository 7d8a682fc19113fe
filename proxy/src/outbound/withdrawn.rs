//! What is withdrawn while it is used: an endpoint, or all there was of a name.
//!
//! An endpoint drains, and will answer; or it hangs, which is why it was withdrawn. `http.rs`
//! sends the request elsewhere once [`Wait::over`] resolves; nothing is sent from here. A name that
//! is withdrawn for good ([`stands`]) must not be served any more.

use std::time::Duration;

use tokio::{sync::watch, time::Instant};

use super::{
    backend::{Backend, has_ready},
    balance::RECHECK,
    endpoint::{Endpoint, live::EndpointId},
    policy::Distribution,
    replay::Again,
};

/// What an endpoint gets to answer in after it was withdrawn.
const GRACE: Duration = Duration::from_secs(1);
/// The same where nobody else is left here, but the client may know somebody.
const LAST_GRACE: Duration = Duration::from_secs(3);

/// What a withdrawal must stand for before connections end by it: time for the control plane to
/// correct a mistake, as a replica makes that has not caught up.
pub const SETTLED: Duration = Duration::from_secs(2);

/// Completes once what is heard has been `withdrawn` for `settled` without a break; never if nothing
/// more is heard.
pub(super) async fn stands<T>(
    mut heard: watch::Receiver<T>,
    withdrawn: impl Fn(&T) -> bool,
    settled: Duration,
) {
    while heard.wait_for(&withdrawn).await.is_ok() {
        tokio::select! {
            () = tokio::time::sleep(settled) => return,
            _ = heard.wait_for(|heard| !withdrawn(heard)) => {}
        }
    }
    // Discovery ended with the process; what was begun may drain.
    std::future::pending().await
}

/// One request's wait at one endpoint.
pub(super) struct Wait<'a> {
    /// Where the request may go.
    pub(super) distribution: &'a Distribution<Backend>,
    /// Endpoints and backends (by index) that failed it already.
    pub(super) failed: &'a [EndpointId],
    pub(super) failed_backends: &'a [usize],
    /// Whether the client is a proxy with other clusters to try.
    pub(super) client_has_others: bool,
    /// Its body.
    pub(super) body: Again,
}

impl Wait<'_> {
    /// Resolves once waiting on at `endpoint`, of the backend `index`, is worse than asking
    /// somebody else.
    pub(super) async fn over(self, index: usize, endpoint: &Endpoint) {
        endpoint.withdrawn().await;
        let since = Instant::now();
        let failed = [self.failed, &[endpoint.id]].concat();
        let mut failed_backends = self.failed_backends.to_vec();
        if endpoint.metadata.is_gateway() {
            failed_backends.push(index);
        }
        let mut pause = GRACE;
        loop {
            tokio::time::sleep(pause).await;
            pause = RECHECK;
            let now = Instant::now();
            let elsewhere = self.client_has_others && now - since >= LAST_GRACE
                || has_ready(self.distribution, now, &failed, &failed_backends);
            if elsewhere && self.body.is_possible() {
                return;
            }
        }
    }
}
