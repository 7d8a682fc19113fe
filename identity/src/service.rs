//! `Identity.Certify`: the one edge where decisions become gRPC.

use crate::{
    Validity,
    decision::{self, Policy, Refusal},
    issuer::Issuers,
    metrics::Metrics,
    token::Reviewer,
};
use linkerd2_proxy_api::identity::{CertifyRequest, CertifyResponse, identity_server::Identity};
use std::time::{Duration, SystemTime};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

/// Serves any number of clients; they are nobody until their token says who they are.
pub(crate) struct Service<R> {
    policy: Policy,
    issuers: Issuers,
    reviewer: R,
    validity: Validity,
    metrics: Metrics,
    /// So that a herd of new sidecars, or an attacker with bad tokens, queues here and does not
    /// flood the API server.
    reviews: Semaphore,
    /// How long to queue.
    patience: Duration,
}

/// Name, token and CSR together, with room.
pub(crate) const MAX_MESSAGE: usize = 64 * 1024;
const MAX_REVIEWS: usize = 32;
/// Less than clients wait for an answer, so that they learn why there is none.
const PATIENCE: Duration = Duration::from_secs(3);
/// Requests of one connection; a sidecar has one at a time.
pub(crate) const MAX_STREAMS: u32 = 16;

impl<R: Reviewer> Service<R> {
    pub(crate) fn new(
        policy: Policy,
        issuers: Issuers,
        reviewer: R,
        validity: Validity,
        metrics: Metrics,
    ) -> Self {
        Self {
            policy,
            issuers,
            reviewer,
            validity,
            metrics,
            reviews: Semaphore::new(MAX_REVIEWS),
            patience: PATIENCE,
        }
    }

    async fn answer(&self, request: CertifyRequest) -> Result<CertifyResponse, Failure> {
        let asked = decision::read(request)?;
        // Before the API server is bothered for what could not be signed anyway.
        let loaded = self.issuers.current().map_err(Failure::unavailable)?;
        let slot = tokio::time::timeout(self.patience, self.reviews.acquire()).await;
        let slot = slot.map_err(|_| Failure::unavailable(BUSY))?;
        let review = self.reviewer.review(asked.token().to_owned()).await;
        drop(slot);
        let review = review.map_err(|error| {
            tracing::warn!(id = %asked.name(), %error, "cannot review a token");
            Failure::unavailable(error)
        })?;
        let granted = decision::grant(&self.policy, asked, &review)?;
        let Validity { lifetime, skew } = self.validity;
        let certified = loaded
            .issuer
            .sign(granted.name(), granted.spki_der(), lifetime, skew)
            .map_err(Failure::unavailable)?;
        let valid_for = certified.valid_until.duration_since(SystemTime::now());
        let valid_for = valid_for.unwrap_or_default();
        tracing::info!(id = %granted.name(), ?valid_for, "issued a certificate");
        Ok(certified.into())
    }
}

const BUSY: &str =
    "too many tokens wait for the API server's review; is it slow? Trying again helps";

enum Failure {
    /// The client's to mend.
    Refused(Refusal),
    /// Ours; the client tries again.
    Unavailable(String),
}

impl Failure {
    fn unavailable(error: impl std::fmt::Display) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

#[tonic::async_trait]
impl<R: Reviewer> Identity for Service<R> {
    async fn certify(
        &self,
        request: Request<CertifyRequest>,
    ) -> Result<Response<CertifyResponse>, Status> {
        match self.answer(request.into_inner()).await {
            Ok(response) => {
                self.metrics.certify("issued");
                Ok(Response::new(response))
            }
            Err(Failure::Refused(refusal)) => {
                self.metrics.certify(refusal.reason());
                tracing::info!(%refusal, "refused a certificate");
                Err(match refusal.is_malformed() {
                    true => Status::invalid_argument(refusal.to_string()),
                    false => Status::failed_precondition(refusal.to_string()),
                })
            }
            Err(Failure::Unavailable(reason)) => {
                self.metrics.certify("unavailable");
                Err(Status::unavailable(reason))
            }
        }
    }
}

#[cfg(test)]
mod tests;
