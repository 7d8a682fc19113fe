//! The sidecar as a whole: build, bind, serve.

use std::{net::SocketAddr, sync::Arc};

use mesh_daemon::{Shutdown, net::Resolver};
use mesh_tls::Store;

use crate::{Config, inbound::gateway::Gateway, metrics::Metrics, outbound::Outbound};

/// What both halves share. Cloned freely.
#[derive(Clone)]
pub struct Runtime {
    /// What the sidecar was told.
    pub config: Arc<Config>,
    /// Its identity.
    pub store: Store,
    /// What it counts.
    pub metrics: Metrics,
    /// How it finds control-plane addresses.
    pub resolver: Resolver,
}

/// A sidecar that is not listening yet.
pub struct Proxy {
    runtime: Runtime,
    outbound: Outbound,
    gateway: Option<Arc<dyn Gateway>>,
}

/// A sidecar whose sockets are bound.
pub struct Bound {
    /// Where the workload's calls go.
    pub outbound: Vec<SocketAddr>,
    /// Where peers connect.
    pub inbound: SocketAddr,
    /// Where the admin server answers.
    pub admin: SocketAddr,
}

impl Proxy {
    /// Builds the sidecar; call inside a runtime. Nothing listens or dials yet.
    pub fn new(_config: Config) -> Result<Self, crate::Error> {
        todo!()
    }

    /// What both halves share.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// The outbound half, for a gateway to route with.
    pub fn outbound(&self) -> Outbound {
        self.outbound.clone()
    }

    /// Makes the sidecar a gateway.
    pub fn with_gateway(mut self, gateway: Arc<dyn Gateway>) -> Self {
        self.gateway = Some(gateway);
        self
    }

    /// Binds every listener.
    pub async fn bind(self) -> std::io::Result<Bound> {
        todo!()
    }
}

impl Bound {
    /// Serves until `shutdown`, then drains up to the configured grace.
    pub async fn serve(self, _shutdown: Shutdown) -> Result<(), crate::Error> {
        todo!()
    }
}
