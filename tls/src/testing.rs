//! Credentials in memory, for tests and demos.

use crate::{Id, Store, TrustAnchors, ca};
use std::time::Duration;

/// A trust anchor.
#[derive(Debug)]
pub struct Ca(pub ca::Anchor);
/// An issuer and what it chains to.
#[derive(Debug)]
pub struct Issuer(pub ca::Issuer);

impl Ca {
    /// A new one, valid for a day.
    pub fn new(_name: &str) -> Self {
        todo!()
    }
    /// A new issuer below it.
    pub fn issuer(&self, _name: &str) -> Issuer {
        todo!()
    }
    /// As what to trust.
    pub fn anchors(&self) -> TrustAnchors {
        todo!()
    }
}
impl Issuer {
    /// A certified store.
    pub fn issue(&self, _id: &Id, _ttl: Duration) -> Store {
        todo!()
    }
}
