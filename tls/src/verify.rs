//! Whom to trust, and the proof of a peer's identity.

use crate::Id;

/// The roots of trust.
#[derive(Clone, Debug)]
pub struct TrustAnchors;

/// Trust anchors that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct AnchorsError(String);

/// A peer's identity, proven by its certificate and its key in a handshake of this room.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Verified(Id);

impl TrustAnchors {
    /// From certificates in PEM; at least one.
    pub fn from_pem(_pem: &str) -> Result<Self, AnchorsError> {
        todo!()
    }
}
impl Verified {
    /// Who the peer is.
    pub fn id(&self) -> &Id {
        &self.0
    }
}
