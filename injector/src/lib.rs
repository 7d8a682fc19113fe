//! Adds the sidecar to pods.
//!
//! [`decide`] is the whole decision, from a pod (or a pod template) to a patch: pure, so that it
//! can be read and tested as a table, and shared by `mesh inject` and the admission webhook.
//! [`manifest`] applies it to a stream of YAML or JSON manifests. Nothing here talks to a cluster.

mod container;
mod decide;
pub mod manifest;
mod overrides;
mod settings;

#[cfg(test)]
mod tests;

pub use crate::{
    decide::{Decision, InjectError, Owner, Pod, SkipReason, decide},
    settings::Settings,
};
