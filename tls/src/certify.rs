//! Getting and renewing a certificate.
//!
//! Every process that has an identity runs [`certify_loop`] for its whole life. Each round makes a
//! new key, so that no key outlives its certificate; the key stays in memory and is given to the
//! store alone. Who signs is behind [`Certifier`]: the issuer's gRPC service for everyone, the
//! issuer itself in its own process.

mod client;

pub use client::GrpcCertifier;

use crate::{Id, Store};
use rcgen::KeyPair;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::{
    io,
    path::PathBuf,
    time::{Duration, SystemTime},
};

/// A certificate and the issuers between it and the anchor.
#[derive(Clone, Debug)]
pub struct Certified {
    /// The workload's.
    pub leaf: CertificateDer<'static>,
    /// Its issuers, nearest first, without the anchor.
    pub intermediates: Vec<CertificateDer<'static>>,
    /// When the first of them expires.
    pub valid_until: SystemTime,
}

/// Why no certificate was issued. All of it may pass: the loop tries again whatever it is.
#[derive(Debug, thiserror::Error)]
pub enum CertifyError {
    /// The token that proves who we are cannot be read.
    #[error("cannot read the identity token {}: {source}; is the projected volume mounted?", path.display())]
    Token {
        /// Where it should be.
        path: PathBuf,
        /// What reading it said.
        source: io::Error,
    },
    /// The issuer was reached and said no, or could not be reached (`Unavailable`).
    #[error("the issuer at {issuer} answered {}: {}", status.code(), reason(status))]
    Refused {
        /// Its address.
        issuer: String,
        /// Its answer.
        status: Box<tonic::Status>,
    },
    /// The issuer's answer is none.
    #[error("the issuer at {issuer} sent an unusable answer: {reason}")]
    Answer {
        /// Its address.
        issuer: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The issuer took too long.
    #[error("the issuer did not answer within {0:?}")]
    Timeout(Duration),
    /// The certificate that came cannot be used.
    #[error("the issued certificate cannot be used: {0}")]
    Install(#[from] crate::InstallError),
    /// We could not make a key or a request, or a certifier's own reason.
    #[error("{0}")]
    Other(String),
}

/// Turns a signing request into a certificate.
pub trait Certifier: Send + Sync {
    /// Certifies a PKCS#10 request in DER.
    fn certify(
        &self,
        csr_der: Vec<u8>,
    ) -> impl Future<Output = Result<Certified, CertifyError>> + Send;
}

/// When to try again.
#[derive(Clone, Copy, Debug)]
struct Schedule {
    /// How long one attempt may take.
    attempt: Duration,
    /// Bounds of the wait after a success.
    refresh: (Duration, Duration),
    /// Bounds of the wait after a failure; it doubles.
    retry: (Duration, Duration),
}

const SCHEDULE: Schedule = Schedule {
    attempt: Duration::from_secs(10),
    refresh: (Duration::from_secs(10), Duration::from_secs(24 * 60 * 60)),
    // Short at first: at the start of a cluster the issuer is often only a moment late.
    retry: (Duration::from_millis(100), Duration::from_secs(10)),
};

/// Wall-clock deadlines are looked at this often, as the timer stands still while a machine
/// sleeps and certificates do not.
const WALL_CLOCK: Duration = Duration::from_secs(60);

/// Keeps the store certified until `shutdown` resolves: renews when 70 % of a certificate's
/// remaining life has passed (at least 10 s, at most 24 h), or the trust anchors or the issuer change;
/// retries failures with backoff.
pub async fn certify_loop(
    store: Store,
    certifier: impl Certifier,
    shutdown: impl Future<Output = ()>,
) {
    tokio::select! {
        () = shutdown => {}
        never = run(&store, &certifier, SCHEDULE) => match never {},
    }
}

async fn run(
    store: &Store,
    certifier: &impl Certifier,
    schedule: Schedule,
) -> std::convert::Infallible {
    let mut failures = 0;
    loop {
        let (trusted, asked) = (store.anchors(), store.renewals_asked());
        match attempt(store, certifier, schedule.attempt).await {
            Ok(valid_until) => {
                failures = 0;
                let wait = refresh_in(valid_until, SystemTime::now(), schedule.refresh);
                let expires = humantime(valid_until);
                tracing::info!(id = %store.id(), expires, refresh_in = ?wait, "certified");
                tokio::select! {
                    () = until(SystemTime::now() + wait) => {}
                    // Peers may soon trust new anchors only, or no longer those of the old issuer.
                    () = store.overtaken(&trusted, asked) => {}
                }
            }
            Err(error) => {
                let wait = retry_in(failures, schedule.retry);
                failures = failures.saturating_add(1);
                report(store, &error, failures, wait);
                tokio::time::sleep(wait).await;
            }
        }
    }
}

async fn attempt(
    store: &Store,
    certifier: &impl Certifier,
    timeout: Duration,
) -> Result<SystemTime, CertifyError> {
    let (key, csr) = request(store.id())
        .map_err(|error| CertifyError::Other(format!("cannot make a key: {error}")))?;
    let certified = tokio::time::timeout(timeout, certifier.certify(csr))
        .await
        .map_err(|_| CertifyError::Timeout(timeout))??;
    store.install(certified, key)?;
    Ok(store.expiry().unwrap_or_else(SystemTime::now))
}

/// A new P-256 key and the request for it, in our name.
pub(crate) fn request(id: &Id) -> Result<(PrivateKeyDer<'static>, Vec<u8>), rcgen::Error> {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let csr = id.params()?.serialize_request(&key)?;
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    Ok((key.into(), csr.der().to_vec()))
}

fn refresh_in(valid_until: SystemTime, now: SystemTime, bounds: (Duration, Duration)) -> Duration {
    let remaining = valid_until.duration_since(now).unwrap_or_default();
    remaining.mul_f64(0.7).clamp(bounds.0, bounds.1)
}

/// Half to all of a doubling wait, so that sidecars that lost the issuer together do not come
/// back together.
fn retry_in(failures: u32, bounds: (Duration, Duration)) -> Duration {
    let base = bounds.0.saturating_mul(1 << failures.min(20)).min(bounds.1);
    let mut random = [0; 4];
    // Without randomness the wait is simply the longest.
    let share = match crate::verify::provider().secure_random.fill(&mut random) {
        Ok(()) => f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX),
        Err(_) => 1.0,
    };
    base.mul_f64(0.5 + share / 2.0)
}

async fn until(deadline: SystemTime) {
    while let Ok(left) = deadline.duration_since(SystemTime::now()) {
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(WALL_CLOCK)).await;
    }
}

fn report(store: &Store, error: &CertifyError, failures: u32, retry_in: Duration) {
    let id = store.id();
    match store.expiry() {
        // The issuer not being up yet is how every cluster starts.
        None if failures <= 3 => {
            tracing::info!(%id, %error, ?retry_in, "not certified yet");
        }
        None => tracing::warn!(%id, %error, failures, ?retry_in, "cannot get a certificate"),
        Some(expiry) if expiry <= SystemTime::now() => {
            let expired = humantime(expiry);
            tracing::error!(%id, %error, failures, expired, ?retry_in, "cannot renew an EXPIRED certificate; peers refuse it");
        }
        Some(expiry) => {
            let expires = humantime(expiry);
            tracing::warn!(%id, %error, failures, expires, ?retry_in, "cannot renew the certificate");
        }
    }
}

fn humantime(time: SystemTime) -> String {
    let time = time::OffsetDateTime::from(time).replace_nanosecond(0);
    time.map_or_else(|_| String::new(), |time| time.to_string())
}

/// The deepest cause is what a reader can act on; tonic's own text is only "tcp connect error".
fn reason(status: &tonic::Status) -> String {
    let mut text = status.message().to_owned();
    let mut source = std::error::Error::source(status);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
