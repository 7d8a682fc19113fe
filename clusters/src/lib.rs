//! The set of linked clusters: each Link becomes a [`Remote`], a task of its own that follows the
//! other cluster's exported Services, its gateway's health, and whether trust is shared.
//!
//! ```text
//! Link + Secret ─▶ links ─▶ remote (one task a Link) ─▶ snapshot ┐
//!                             ├▶ gateway (resolve, probe) ───────┼▶ RemoteState ─▶ mirror
//!                             └▶ trust (anchors in common) ──────┘
//! ```
//!
//! Silence never means empty: what was last seen of a cluster stays until that cluster itself says
//! otherwise. A peer that hangs, refuses or disappears stops nothing but its own task.

pub mod credentials;
pub mod gateway;
mod links;
mod observed;
mod pod;
mod probe;
mod remote;
pub mod selector;
pub mod snapshot;
mod trust;

pub use crate::{
    gateway::{Gateway, Liveness},
    links::{Links, LinksConfig},
    remote::{Connection, RemoteState, Trust},
    snapshot::{PodGroup, Pods, RemoteService, ServicePort, Snapshot},
};
