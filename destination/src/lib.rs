//! Discovery and policy answers for proxies, over gRPC; the export gate.
//!
//! ```text
//! watches ──▶ index ──▶ view (pure) ──▶ grpc (pure conversions, then streams) ──▶ proxies
//! ```
//!
//! - `watches` is the only part that asks Kubernetes; `index` is plain synchronous data;
//!   `view` turns it into answers; `grpc` puts answers on the wire.
//! - **The export gate** is `view::Audience`: a caller whose mesh identity is a gateway's of this
//!   cluster learns of exported Services only, with local pods only. It is asked wherever a Service
//!   is looked up for somebody, and a stream ends when its caller's audience changes.
//! - Every caller needs a mesh identity. To ask as a person (`mesh diagnostics`), make a
//!   certificate for some ServiceAccount of the trust domain, dial a destination pod on 8086
//!   (`Destination`) or 8090 (policies) with it, and demand the identity
//!   `linkerd-destination.linkerd.serviceaccount.identity.linkerd.<trust domain>`. No audience is
//!   more powerful than another, and none can write.

mod args;
mod config;
mod grpc;
mod index;
mod policy;
mod ports;
mod run;
#[cfg(test)]
mod sandbox;
mod view;
mod watches;

pub use args::Args;
pub use policy::{DefaultPolicy, InvalidDefaultPolicy};
pub use ports::{InvalidPorts, PortSet};
pub use run::run;
