//! Runs pods as local processes. Placeholder.

/// Flags of `mesh node-agent`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {}

/// Placeholder.
pub async fn run(_args: Args, _shutdown: mesh_daemon::Shutdown) -> anyhow::Result<()> {
    Ok(())
}
