//! The sidecar, as a library: everything a workload sends leaves through [`outbound`], everything
//! it receives arrives through [`inbound`], and both prove who they are with mesh TLS.
//!
//! `gateway/` mounts the outbound half behind the inbound one through
//! [`inbound::gateway::Gateway`] and owns the binaries. This room speaks to the control plane only
//! through `linkerd2-proxy-api` and never sees Kubernetes.
//!
//! Reading order: [`app`] binds and serves, [`inbound`] and [`outbound`] hold one file per step of
//! a request, [`http::rescue`] is the only place where an error becomes a response.

pub mod admin;
pub mod app;
pub mod config;
pub mod control;
pub mod detect;
pub mod directives;
pub mod error;
pub mod http;
pub mod identity;
pub mod inbound;
pub mod io;
pub mod metrics;
pub mod outbound;
#[cfg(test)]
mod tests;
pub mod transport_header;
pub mod witness;

pub use app::{Bound, Proxy, Runtime};
pub use config::Config;
pub use error::Error;
pub use mesh_daemon::drain::Drain;
