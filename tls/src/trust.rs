//! Trust bundles over gRPC: how a change of the trust anchors reaches every sidecar at once.
//!
//! Linkerd's API has no word for it; it is a method of the service of our own (`federation/`),
//! served by identity beside `Certify`. [`federation`] serves what a [`Store`] trusts;
//! [`crate::GrpcCertifier::follow_trust_bundle`] keeps another store at it.
//! Whoever is asked proves itself with a certificate under the anchors trusted before, so a bundle
//! is never believed from anyone who could not have issued certificates under it. A server without
//! the service answers `Unimplemented`, and the anchors stay as configured.
//!
//! [`Store`]: crate::Store

mod client;
mod server;

pub use server::federation;

pub(crate) use client::{Pauses, follow};

#[cfg(test)]
mod tests;
