//! Making certificates: trust anchors, issuers and the leaves they sign.

use crate::{Certified, Id, TrustAnchors};
use std::time::{Duration, SystemTime};

/// A root of trust with its key.
#[derive(Debug)]
pub struct Anchor;
/// What signs leaves.
#[derive(Debug)]
pub struct Issuer;

/// Why a certificate could not be made or used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CaError(String);

impl Anchor {
    /// A new one, with a P-256 key.
    pub fn generate(_name: &str, _ttl: Duration) -> Result<Self, CaError> {
        todo!()
    }
    /// From PEM.
    pub fn from_pem(_cert: &str, _key: &str) -> Result<Self, CaError> {
        todo!()
    }
    /// The certificate in PEM.
    pub fn cert_pem(&self) -> String {
        todo!()
    }
    /// The private key in PEM.
    pub fn key_pem(&self) -> String {
        todo!()
    }
    /// As what to trust.
    pub fn trust(&self) -> TrustAnchors {
        todo!()
    }
    /// A new issuer below this anchor.
    pub fn issuer(&self, _name: &str, _ttl: Duration) -> Result<Issuer, CaError> {
        todo!()
    }
}

impl Issuer {
    /// From PEM: the issuer's certificate first, then those above it.
    pub fn from_pem(_certs: &str, _key: &str) -> Result<Self, CaError> {
        todo!()
    }
    /// The chain in PEM.
    pub fn cert_pem(&self) -> String {
        todo!()
    }
    /// The private key in PEM.
    pub fn key_pem(&self) -> String {
        todo!()
    }
    /// When the chain expires.
    pub fn expiry(&self) -> SystemTime {
        todo!()
    }
    /// Checks that what this signs is accepted by who trusts `anchors`.
    pub fn check(&self, _anchors: &TrustAnchors) -> Result<(), CaError> {
        todo!()
    }
    /// Signs a leaf for `id` and this public key (SubjectPublicKeyInfo, DER).
    pub fn sign(
        &self,
        _id: &Id,
        _spki_der: &[u8],
        _lifetime: Duration,
        _skew: Duration,
    ) -> Result<Certified, CaError> {
        todo!()
    }
}
