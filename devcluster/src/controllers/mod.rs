//! What objects bring about. Placeholder: nothing.

use crate::apiserver::resources::Registry;
use crate::auth::Auth;
use crate::store::Store;

/// Settings.
#[derive(Clone, Debug)]
pub struct ControllersConfig {
    /// CA of the server.
    pub ca_pem: String,
    /// Addresses of LoadBalancer Services.
    pub lb_cidr: ipnet::Ipv4Net,
    /// DNS domain.
    pub cluster_domain: String,
}

/// Placeholder.
pub fn spawn(
    _store: Store,
    _registry: Registry,
    _auth: Auth,
    _config: ControllersConfig,
    _shutdown: mesh_daemon::Shutdown,
) {
}
