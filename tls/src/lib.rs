//! Mesh mTLS for both planes: credentials, verifier, server, client.
//!
//! A process makes one [`Store`], keeps it certified with [`certify_loop`], and hands it to
//! [`connect`], [`accept`], [`control::channel`] and [`control::incoming`]. [`Verified`] is the
//! only proof of a peer's identity, and is made nowhere else. Keys never leave memory, but for
//! [`write_end_entity`], which makes one for another program.

mod anchors;
mod bundle;
pub mod ca;
mod certify;
mod client;
pub mod control;
mod describe;
mod digest;
mod end_entity;
mod error;
mod id;
mod resume;
mod server;
mod slots;
pub mod sniff;
mod store;
pub mod testing;
mod through;
mod trust;
mod verify;
mod workload_api;

#[cfg(test)]
mod tests;

pub use anchors::{AnchorsError, TrustAnchors};
pub use bundle::{BundleError, follow_anchors, read_anchors};
pub use certify::{Certified, Certifier, CertifyError, GrpcCertifier, certify_loop};
pub use client::{ClientStream, Target, connect, connect_anonymous, reconnect};
pub use describe::{Cryptography, describe};
pub use digest::sha256;
pub use end_entity::{EndEntityError, write_end_entity};
pub use error::Error;
pub use id::{Id, InvalidId};
pub use server::{Accept, Accepted, ServerStream, accept};
pub use slots::{Slot, Slots};
pub use store::{InstallError, Store};
pub use trust::federation;
pub use verify::Verified;
pub use workload_api::{Svid, Svids, WorkloadApi, WorkloadApiError};
