//! The stage on which others judge the proxy: a control plane that answers what it was told to,
//! and sidecars around it, in this process or as child processes.
//!
//! `conformance/` and `bench/` use it. [`ControlPlane`] certifies, and answers policies and
//! endpoints; [`answers`] makes them; [`Sidecar`] runs a proxy in this process, and [`vars`] are the
//! variables for one that runs elsewhere; [`Pair`] is a client's and a server's with mesh TLS
//! between them; [`relay`] gives programs that know nothing of proxies a port to talk to. No product
//! code uses it.

pub mod answers;
mod control;
mod pair;
pub mod relay;
mod sidecar;

pub use control::ControlPlane;
pub use pair::Pair;
pub use sidecar::{Sidecar, vars};

use std::net::{IpAddr, Ipv4Addr};

/// Where the client's pod is.
pub const CLIENT_IP: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 88, 0, 1));
/// Where the server's pod is.
pub const SERVER_IP: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 88, 0, 2));
/// Who the client is.
pub const CLIENT_ID: &str = "client.default.serviceaccount.identity.linkerd.cluster.local";
/// Who the server is.
pub const SERVER_ID: &str = "server.default.serviceaccount.identity.linkerd.cluster.local";
/// What the control plane is called when a sidecar expects mesh TLS of it.
pub const CONTROL_ID: &str = "control.linkerd.serviceaccount.identity.linkerd.cluster.local";
