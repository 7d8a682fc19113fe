//! Identity's own certificate: the same loop as everyone's, with the issuer in reach.
//!
//! Nobody has to vouch for a process that holds the issuer's key; only the form of the request is
//! checked, and that it is for our own name.

use crate::{Validity, csr::Csr, issuer::Issuers};
use mesh_tls::{Certified, CertifyError, Id};

/// Signs for this process alone.
pub(crate) struct Certifier {
    issuers: Issuers,
    id: Id,
    validity: Validity,
}

impl Certifier {
    pub(crate) fn new(issuers: Issuers, id: Id, validity: Validity) -> Self {
        Self {
            issuers,
            id,
            validity,
        }
    }
}

impl mesh_tls::Certifier for Certifier {
    async fn certify(&self, csr_der: Vec<u8>) -> Result<Certified, CertifyError> {
        let other = |error: &dyn std::fmt::Display| CertifyError::Other(error.to_string());
        let csr = Csr::read(&csr_der).map_err(|error| other(&error))?;
        if csr.name() != self.id.as_str() {
            return Err(other(&"a request of another process came in"));
        }
        let loaded = self.issuers.current().map_err(|problem| other(&problem))?;
        let Validity { lifetime, skew } = self.validity;
        let signed = loaded.issuer.sign(&self.id, csr.spki_der(), lifetime, skew);
        signed.map_err(|error| other(&error))
    }
}
