//! What every process shares: shutdown, telemetry, readiness, admin, drain, sockets.
//!
//! A process is `telemetry::init`, then `shutdown()` with `on_signals`, then its room's
//! `run(args, shutdown)`. Everything here is mechanism: this room knows no Kubernetes, no TLS and
//! no mesh protocol, only the words of `contract`.

pub mod admin;
pub mod args;
pub mod backoff;
pub mod drain;
pub mod net;
pub mod process;
pub mod readiness;
mod shutdown;
pub mod telemetry;

pub use shutdown::{Shutdown, Trigger, on_signals, shutdown};
