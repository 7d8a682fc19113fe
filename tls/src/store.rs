//! The credentials of this process.

use crate::{Certified, Id, TrustAnchors};
use rustls_pki_types::PrivateKeyDer;
use std::time::SystemTime;

/// Identity, anchors and the current certificate; cheap to clone.
#[derive(Clone, Debug)]
pub struct Store;

/// A certificate that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct InstallError(String);

impl Store {
    /// Without a certificate yet.
    pub fn new(_id: Id, _anchors: TrustAnchors) -> Self {
        todo!()
    }
    /// Who we are.
    pub fn id(&self) -> &Id {
        todo!()
    }
    /// Whom we trust.
    pub fn anchors(&self) -> &TrustAnchors {
        todo!()
    }
    /// Resolves once there is a certificate.
    pub async fn ready(&self) {
        todo!()
    }
    /// Whether there is a certificate.
    pub fn is_ready(&self) -> bool {
        todo!()
    }
    /// When the certificate expires.
    pub fn expiry(&self) -> Option<SystemTime> {
        todo!()
    }
    /// Uses this certificate in new handshakes.
    pub fn install(
        &self,
        _certified: Certified,
        _key: PrivateKeyDer<'static>,
    ) -> Result<(), InstallError> {
        todo!()
    }
}
