//! Being somebody: keeps a fresh certificate in the [`mesh_tls::Store`]. The key is made here, in
//! memory, and never leaves the process.

use mesh_daemon::Shutdown;

use crate::config;

/// An empty store for the configured identity.
pub fn store(_config: &config::Identity) -> Result<mesh_tls::Store, crate::Error> {
    todo!()
}

/// Certifies and renews until shutdown.
pub async fn run(_config: config::Identity, _store: mesh_tls::Store, _shutdown: Shutdown) {
    todo!()
}
