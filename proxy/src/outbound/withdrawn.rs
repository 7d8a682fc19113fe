//! How long a request waits for an endpoint that discovery withdrew meanwhile.
//!
//! The endpoint drains, and will answer; or it hangs, which is why it was withdrawn. `http.rs`
//! sends the request elsewhere once [`Wait::over`] resolves; nothing is sent from here.

use std::time::Duration;

use tokio::time::Instant;

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
