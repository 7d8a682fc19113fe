//! The roots of trust, and whether a certificate chains to them.
//!
//! Read by every process at its start, and again where it can be ([`crate::follow_anchors`]). It
//! says nothing about names: who a certificate speaks for is `verify`'s.

use crate::verify::provider;
use rustls::DistinguishedName;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime, pem::PemObject};
use std::{fmt, sync::Arc};
use webpki::{EndEntityCert, KeyUsage};

/// The roots of trust; at least one. Cheap to clone.
#[derive(Clone)]
pub struct TrustAnchors(Arc<Anchors>);

struct Anchors {
    certificates: Vec<CertificateDer<'static>>,
    roots: Vec<TrustAnchor<'static>>,
    /// Told to clients, so that one with several certificates can choose.
    subjects: Vec<DistinguishedName>,
}

/// Trust anchors that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnchorsError {
    /// There is no certificate in the text.
    #[error(
        "no certificate in the trust anchors; they must be one or more PEM blocks BEGIN CERTIFICATE"
    )]
    Empty,
    /// One block is not PEM.
    #[error("trust anchor {0} is not valid PEM: {1}")]
    Pem(usize, String),
    /// One block is not a certificate.
    #[error("trust anchor {0} is not a certificate: {1}")]
    Certificate(usize, webpki::Error),
}

impl TrustAnchors {
    /// From certificates in PEM; at least one. Other kinds of PEM blocks are skipped.
    pub fn from_pem(pem: &str) -> Result<Self, AnchorsError> {
        let mut certificates = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let at = certificates.len() + 1;
            certificates
                .push(certificate.map_err(|error| AnchorsError::Pem(at, error.to_string()))?);
        }
        Self::from_der(certificates)
    }

    /// From certificates in DER; at least one.
    pub fn from_der(certificates: Vec<CertificateDer<'static>>) -> Result<Self, AnchorsError> {
        if certificates.is_empty() {
            return Err(AnchorsError::Empty);
        }
        let roots = certificates
            .iter()
            .enumerate()
            .map(|(at, certificate)| {
                webpki::anchor_from_trusted_cert(certificate)
                    .map(|root| root.to_owned())
                    .map_err(|error| AnchorsError::Certificate(at + 1, error))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let subjects = roots
            .iter()
            .map(|root| DistinguishedName::in_sequence(root.subject.as_ref()))
            .collect();
        Ok(Self(Arc::new(Anchors {
            certificates,
            roots,
            subjects,
        })))
    }

    /// None yet: nobody is trusted.
    pub fn none() -> Self {
        Self(Arc::new(Anchors {
            certificates: Vec::new(),
            roots: Vec::new(),
            subjects: Vec::new(),
        }))
    }

    /// The certificates, as they were given.
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.0.certificates
    }

    /// The SHA-256 of each certificate, in hex and sorted: the same wherever the same are trusted.
    pub fn fingerprints(&self) -> Vec<String> {
        let all = self.certificates().iter();
        let mut all: Vec<_> = all.map(|certificate| crate::sha256(certificate)).collect();
        all.sort_unstable();
        all
    }

    /// Whether one certificate, by content, is in both: then each side can issue what the other
    /// accepts.
    pub fn overlaps(&self, other: &Self) -> bool {
        let theirs = other.certificates();
        self.certificates().iter().any(|ours| theirs.contains(ours))
    }

    /// Their subjects, as clients are told them.
    pub(crate) fn subjects(&self) -> &[DistinguishedName] {
        &self.0.subjects
    }

    /// Whether a certificate chains to an anchor, whatever its names.
    pub(crate) fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), webpki::Error> {
        let leaf = EndEntityCert::try_from(leaf)?;
        let verify = |usage: KeyUsage| {
            let algorithms = provider().signature_verification_algorithms.all;
            leaf.verify_for_usage(
                algorithms,
                &self.0.roots,
                intermediates,
                now,
                usage,
                None,
                None,
            )
            .map(drop)
        };
        // Each mesh certificate serves both sides. One that names only one of the two uses, as
        // some external issuers make them, is a mesh certificate still.
        match verify(KeyUsage::server_auth()) {
            Err(webpki::Error::RequiredEkuNotFoundContext(_)) => verify(KeyUsage::client_auth()),
            outcome => outcome,
        }
    }
}

/// By their certificates, in their order.
impl PartialEq for TrustAnchors {
    fn eq(&self, other: &Self) -> bool {
        self.certificates() == other.certificates()
    }
}

impl Eq for TrustAnchors {}

impl fmt::Debug for TrustAnchors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrustAnchors")
            .field("certificates", &self.0.certificates.len())
            .finish()
    }
}
