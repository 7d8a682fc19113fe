//! Asking `Identity.Certify`.

use super::{Certified, Certifier, CertifyError};
use crate::{
    Store,
    control::{self, ControlAddr, Dialler},
    trust,
};
use linkerd2_proxy_api::identity::{
    CertifyRequest, CertifyResponse, identity_client::IdentityClient,
};
use rustls_pki_types::CertificateDer;
use std::{
    fmt, io,
    path::PathBuf,
    time::{Duration, SystemTime},
};
use tokio::io::AsyncReadExt;
use tonic::transport::Channel;

/// Asks `Identity.Certify`, over a connection of its own for each request: they are hours apart,
/// and each should reach an issuer that lives now.
#[derive(Clone)]
pub struct GrpcCertifier {
    issuer: Issuer,
    store: Store,
    token_file: PathBuf,
    dial: Dialler,
}

#[derive(Clone)]
enum Issuer {
    Mesh(ControlAddr),
    Plaintext { host: String, port: u16 },
}

/// Tokens are about 1 KiB; an issuer would refuse much more.
const MAX_TOKEN: u64 = 64 * 1024;
/// Leaf, issuer, and a few above it.
const MAX_INTERMEDIATES: usize = 16;

impl GrpcCertifier {
    /// Over mesh TLS without a certificate of ours: the token says who we are.
    /// `token_file` is read before each request, as the kubelet renews it.
    pub fn new(
        addr: ControlAddr,
        store: Store,
        token_file: PathBuf,
        dial: impl Into<Dialler>,
    ) -> Self {
        Self {
            issuer: Issuer::Mesh(addr),
            store,
            token_file,
            dial: dial.into(),
        }
    }

    /// In the clear, for an issuer at a loopback address for which no name is configured.
    pub fn plaintext(
        host: String,
        port: u16,
        store: Store,
        token_file: PathBuf,
        dial: impl Into<Dialler>,
    ) -> Self {
        Self {
            issuer: Issuer::Plaintext { host, port },
            store,
            token_file,
            dial: dial.into(),
        }
    }

    fn channel(&self) -> Channel {
        match &self.issuer {
            Issuer::Mesh(addr) => {
                control::bootstrap_channel(addr.clone(), self.store.clone(), self.dial.clone())
            }
            Issuer::Plaintext { host, port } => {
                control::plaintext_channel(host, *port, self.dial.clone())
            }
        }
    }

    /// Keeps the store trusting what the issuer tells ([`crate::federation`]), for ever. Asks over
    /// one connection that stays, once the store is certified. An issuer of Linkerd's has no such
    /// service; the anchors then stay as they are.
    pub async fn follow_trust_bundle(self) {
        let channel = match self.issuer {
            Issuer::Mesh(addr) => control::channel(addr, self.store.clone(), self.dial),
            // It cannot tell who asks, and is not the one to say whom to trust.
            Issuer::Plaintext { .. } => return std::future::pending().await,
        };
        trust::follow(&self.store, channel, trust::Pauses::default()).await;
    }

    async fn token(&self) -> Result<Vec<u8>, CertifyError> {
        let failed = |source| CertifyError::Token {
            path: self.token_file.clone(),
            source,
        };
        let file = tokio::fs::File::open(&self.token_file)
            .await
            .map_err(failed)?;
        let mut token = Vec::new();
        file.take(MAX_TOKEN)
            .read_to_end(&mut token)
            .await
            .map_err(failed)?;
        token.truncate(token.trim_ascii_end().len());
        if token.is_empty() {
            return Err(failed(io::Error::new(
                io::ErrorKind::InvalidData,
                "it is empty",
            )));
        }
        Ok(token)
    }
}

impl fmt::Debug for GrpcCertifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcCertifier")
            .field("issuer", &self.issuer.to_string())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mesh(addr) => write!(f, "{}:{}", addr.host, addr.port),
            Self::Plaintext { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

impl Certifier for GrpcCertifier {
    async fn certify(&self, csr_der: Vec<u8>) -> Result<Certified, CertifyError> {
        let request = CertifyRequest {
            identity: self.store.id().to_string(),
            token: self.token().await?,
            certificate_signing_request: csr_der,
        };
        let answer = IdentityClient::new(self.channel()).certify(request).await;
        let answer = answer.map_err(|status| CertifyError::Refused {
            issuer: self.issuer.to_string(),
            status: Box::new(status),
        })?;
        read(answer.into_inner(), SystemTime::now()).map_err(|reason| CertifyError::Answer {
            issuer: self.issuer.to_string(),
            reason: reason.to_owned(),
        })
    }
}

/// As an issuer answers.
impl From<Certified> for CertifyResponse {
    fn from(certified: Certified) -> Self {
        let intermediates = certified.intermediates.iter();
        Self {
            leaf_certificate: certified.leaf.to_vec(),
            intermediate_certificates: intermediates.map(|one| one.to_vec()).collect(),
            valid_until: Some(certified.valid_until.into()),
        }
    }
}

/// Whether the certificates are any good is for the store to say.
fn read(answer: CertifyResponse, now: SystemTime) -> Result<Certified, &'static str> {
    if answer.leaf_certificate.is_empty() {
        return Err("there is no certificate in it");
    }
    if answer.intermediate_certificates.len() > MAX_INTERMEDIATES {
        return Err("its chain is too long");
    }
    let valid_until = answer
        .valid_until
        .ok_or("it does not say how long it is valid")?;
    let valid_until = u64::try_from(valid_until.seconds)
        .ok()
        .and_then(|seconds| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)))
        .filter(|valid_until| *valid_until > now)
        .ok_or("it has expired already; do the clocks agree?")?;
    Ok(Certified {
        leaf: CertificateDer::from(answer.leaf_certificate),
        intermediates: answer
            .intermediate_certificates
            .into_iter()
            .map(CertificateDer::from)
            .collect(),
        valid_until,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(seconds: i64) -> CertifyResponse {
        CertifyResponse {
            leaf_certificate: vec![1],
            intermediate_certificates: vec![vec![2]],
            valid_until: Some(prost_types::Timestamp { seconds, nanos: 0 }),
        }
    }

    #[test]
    fn unusable_answers_are_refused() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        assert!(read(answer(101), now).is_ok());
        for seconds in [100, 0, -1, i64::MIN] {
            assert!(read(answer(seconds), now).is_err(), "{seconds}");
        }
        let no_leaf = CertifyResponse {
            leaf_certificate: vec![],
            ..answer(101)
        };
        assert!(read(no_leaf, now).is_err());
        let no_time = CertifyResponse {
            valid_until: None,
            ..answer(101)
        };
        assert!(read(no_time, now).is_err());
        let long = CertifyResponse {
            intermediate_certificates: vec![vec![2]; MAX_INTERMEDIATES + 1],
            ..answer(101)
        };
        assert!(read(long, now).is_err());
        let _ = read(answer(i64::MAX), now);
    }
}
