//! The service mirror: what linked clusters export appears here.
//!
//! ```text
//! clusters::RemoteState ┐
//!                       ├─▶ plan (pure) ─▶ Plan ─▶ diff (pure) ─▶ actions ─▶ apply
//! local objects ────────┘                    └─▶ status of the Links, Events
//! ```
//!
//! One process serves all Links. It is level-triggered: every change plans anew from all that is
//! known, so an event that was missed costs nothing. Only the holder of the lease writes.

mod apply;
mod args;
mod farewell;
mod local;
mod metrics;
pub mod plan;
mod reconcile;
mod run;
mod status;
mod tell;

pub use crate::{
    args::Args,
    run::{run, serve},
};
