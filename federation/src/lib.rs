//! `mesh.federation.v1.Federation`: the one gRPC service of our own, for what Linkerd's API has no
//! word for. Its messages, and how either end speaks them; what they mean is the business of those
//! who do: identity tells trust bundles (`tls/src/trust.rs`), destination tells directives
//! (`destination/src/grpc/directives.rs`), sidecars follow both.
//!
//! A process serves the methods it knows the answer to and answers `Unimplemented` to the others,
//! as a stock control plane does to all of them; sidecars then behave as stock ones.
//!
//! ```proto
//! syntax = "proto3";
//! package mesh.federation.v1;
//! service Federation {
//!   // The trust anchors and who issues under them, now and after every change.
//!   rpc WatchTrustBundle(WatchTrustBundleRequest) returns (stream TrustBundle);
//!   // What the caller is to do beyond its policies, now and after every change, and again
//!   // before its lease ends.
//!   rpc WatchDirectives(WatchDirectivesRequest) returns (stream Directives);
//! }
//! message WatchTrustBundleRequest {}
//! message TrustBundle {
//!   repeated bytes certificates = 1; // X.509 in DER; never none
//!   string issuer = 2;               // SHA-256 of the issuing certificate, in hex; empty: an anchor
//! }
//! message WatchDirectivesRequest {}
//! message Directives {               // all of them: what is not named does not hold any more
//!   repeated Restriction restrictions = 1;
//!   uint32 lease_seconds = 2;        // 0: none
//!   bool close_withdrawn = 3;
//! }
//! message Restriction {
//!   string name = 1;                 // of the object it comes from
//!   repeated string identities = 2;  // clients, literally
//!   repeated string suffixes = 3;    // clients below these names; an empty one: all
//!   bool deny = 4;
//!   optional uint32 max_connections = 5; // at once, of each client
//!   optional uint32 max_requests = 6;    // in flight, of each client
//! }
//! ```

mod client;
mod messages;
mod server;

pub use client::watch;
pub use messages::{
    Directives, Restriction, TrustBundle, WatchDirectivesRequest, WatchTrustBundleRequest,
};
pub use server::{Messages, Server};

/// Name of the service.
pub const SERVICE: &str = "mesh.federation.v1.Federation";

/// A method of the service, or of another's that has one like it; each streams its answers.
pub trait Method: Send + Sync + 'static {
    /// The service it is of.
    const SERVICE: &'static str = SERVICE;
    /// Where it is asked.
    const PATH: &'static str;
    /// The longest answer a sidecar takes, in bytes; nobody may send a longer one.
    const MAX_ANSWER: usize;
    /// What is asked.
    type Question: prost::Message + Default + Send + Sync + 'static;
    /// What is answered, again and again.
    type Answer: prost::Message + Default + Send + Sync + 'static;
}

/// The trust anchors.
#[derive(Clone, Copy, Debug)]
pub enum WatchTrustBundle {}

impl Method for WatchTrustBundle {
    const PATH: &'static str = "/mesh.federation.v1.Federation/WatchTrustBundle";
    /// As much as a ConfigMap holds.
    const MAX_ANSWER: usize = 1024 * 1024;
    type Question = WatchTrustBundleRequest;
    type Answer = TrustBundle;
}

/// Who is restricted, and how long what is known holds.
#[derive(Clone, Copy, Debug)]
pub enum WatchDirectives {}

impl Method for WatchDirectives {
    const PATH: &'static str = "/mesh.federation.v1.Federation/WatchDirectives";
    const MAX_ANSWER: usize = 4 * 1024 * 1024;
    type Question = WatchDirectivesRequest;
    type Answer = Directives;
}
