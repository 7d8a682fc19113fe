//! Trust bundles over gRPC: how a change of the trust anchors reaches every sidecar at once.
//!
//! Linkerd's API has no word for it, so this is the one service of our own,
//! `mesh.federation.v1.Federation`, served by identity beside `Certify`. [`Federation`] serves
//! what a [`Store`] trusts; [`crate::GrpcCertifier::follow_trust_bundle`] keeps another store at it.
//! Whoever is asked proves itself with a certificate under the anchors trusted before, so a bundle
//! is never believed from anyone who could not have issued certificates under it. A server without
//! the service answers `Unimplemented`, and the anchors stay as configured.
//!
//! ```proto
//! syntax = "proto3";
//! package mesh.federation.v1;
//! service Federation {
//!   // The trust anchors and who issues under them, now and after every change.
//!   rpc WatchTrustBundle(WatchTrustBundleRequest) returns (stream TrustBundle);
//! }
//! message WatchTrustBundleRequest {}
//! message TrustBundle {
//!   repeated bytes certificates = 1; // X.509 in DER; never none
//!   string issuer = 2;               // SHA-256 of the issuing certificate, in hex; empty: an anchor
//! }
//! ```

mod client;
mod server;

pub use server::Federation;

pub(crate) use client::{Pauses, follow};

/// Name of the service.
const SERVICE: &str = "mesh.federation.v1.Federation";
/// Path of its one method.
const WATCH: &str = "/mesh.federation.v1.Federation/WatchTrustBundle";
/// As much as a ConfigMap holds.
const MAX_BUNDLE: usize = 1024 * 1024;

/// The question.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
struct WatchTrustBundleRequest {}

/// All trust anchors.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct TrustBundle {
    /// Certificates in DER.
    #[prost(bytes = "vec", repeated, tag = "1")]
    certificates: Vec<Vec<u8>>,
    /// Who signs now. Whoever was certified by another asks for a new certificate, so that the old
    /// issuer's root can be taken out without waiting for certificates to expire.
    #[prost(string, tag = "2")]
    issuer: String,
}

#[cfg(test)]
mod tests;
