//! Discovery and policy answers for proxies, over gRPC; the export gate.

mod args;
mod policy;
mod ports;

pub use args::Args;
pub use policy::{DefaultPolicy, InvalidDefaultPolicy};
pub use ports::{InvalidPorts, PortSet};

/// Serves until asked to stop.
pub async fn run(_args: Args, _shutdown: mesh_daemon::Shutdown) -> anyhow::Result<()> {
    todo!()
}
