//! Getting and renewing a certificate.

use crate::{
    Store,
    control::{ControlAddr, Dial},
};
use rustls_pki_types::CertificateDer;
use std::{path::PathBuf, time::SystemTime};

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

/// Why no certificate was issued.
#[derive(Debug, thiserror::Error)]
pub enum CertifyError {
    /// Other.
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

/// Asks `Identity.Certify`.
#[derive(Clone)]
pub struct GrpcCertifier;

impl GrpcCertifier {
    /// `token_file` is read before each request.
    pub fn new(_addr: ControlAddr, _store: Store, _token_file: PathBuf, _dial: Dial) -> Self {
        todo!()
    }
}
impl Certifier for GrpcCertifier {
    async fn certify(&self, _csr_der: Vec<u8>) -> Result<Certified, CertifyError> {
        todo!()
    }
}

/// Keeps the store certified until `shutdown` resolves.
pub async fn certify_loop(
    _store: Store,
    _certifier: impl Certifier,
    _shutdown: impl Future<Output = ()>,
) {
    todo!()
}
