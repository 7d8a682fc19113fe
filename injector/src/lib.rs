//! Admission: adds the sidecar to pods, and validates the mesh's own resources.
//!
//! ```text
//! AdmissionReview ─▶ webhook::server ─▶ webhook::review (pure) ─▶ decide / validate (pure) ─▶ answer
//!                                           ▲ settings, namespaces (watched)
//! ```
//!
//! [`decide()`] is the whole decision, from a pod (or a pod template) to a patch: pure, so that it
//! can be read and tested as a table, and shared by `mesh inject` and the webhook. [`manifest`]
//! applies it to a stream of YAML or JSON manifests. [`run`] is the daemon `mesh injector`; it
//! makes and rotates its own serving certificate and tells the API server to trust it.

mod args;
mod container;
mod decide;
pub mod manifest;
mod metrics;
mod overrides;
mod owner;
mod run;
mod serving;
mod settings;
mod uninject;
mod validate;
mod webhook;
mod world;

#[cfg(test)]
mod tests;

pub use crate::{
    args::Args,
    decide::{Decision, InjectError, Owner, Pod, SkipReason, decide, warnings},
    run::run,
    settings::{
        Control, Image, Ports, Proxy, ProxyInit, Resource, Resources, Settings, SidecarValues,
        Streams, merge,
    },
    uninject::uninject,
};
