//! The shared-trust issuer: token to CSR to certificate.

/// Flags of `mesh identity`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {}

/// Serves until the shutdown.
pub async fn run(_args: Args, _shutdown: mesh_daemon::Shutdown) -> anyhow::Result<()> {
    todo!()
}
