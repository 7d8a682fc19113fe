//! The cluster's entrance.
//!
//! A gateway is a sidecar with suffixes: its inbound half verifies a client and reads the name it
//! asks for, [`Router`] decides whether that name is for us, and the sidecar's own outbound half
//! takes it from there. There is no second data plane here, and no export list: the control plane
//! answers a gateway for exported services only, with local endpoints only, and denies the rest.
//!
//! [`run`] is the whole process, sidecar or gateway, configured by `LINKERD2_PROXY_*`. It is
//! called by `mesh-proxy` and by `mesh proxy` and `mesh gateway`.

mod forwarded;
mod memory;
mod router;
pub mod wait;

use std::sync::Arc;

use anyhow::Context;
use mesh_daemon::Shutdown;
use mesh_proxy::{Config, Proxy, config::Errors};

pub use router::Router;

/// Serves as a sidecar, and as a gateway if suffixes are configured, until `shutdown`.
pub async fn run(shutdown: Shutdown) -> anyhow::Result<()> {
    serve(Config::from_env()?, shutdown).await
}

/// As [`run`], with a configuration that was read already.
pub async fn serve(config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    let proxy = with_gateway(Proxy::new(config).context("building the proxy")?);
    let bound = proxy
        .bind()
        .await
        .context("binding the proxy's listeners; is another proxy running at these addresses?")?;
    tracing::info!(
        outbound = ?bound.outbound,
        inbound = %bound.inbound,
        admin = %bound.admin,
        "listening"
    );
    let readiness = bound.readiness.clone();
    tokio::select! {
        served = bound.serve(shutdown) => served.context("serving"),
        never = memory::give_back(readiness) => match never {},
    }
}

/// Makes a sidecar a gateway if it is configured as one.
pub fn with_gateway(proxy: Proxy) -> Proxy {
    let suffixes = proxy.runtime().config.inbound.gateway_suffixes.clone();
    if suffixes.is_empty() {
        return proxy;
    }
    let id = proxy.runtime().store.id().clone();
    tracing::info!(%id, ?suffixes, "serving as a gateway");
    let directives = proxy.runtime().directives.clone();
    let router = Router::new(id, suffixes, proxy.outbound(), directives);
    proxy.with_gateway(Arc::new(router))
}

/// The exit code of a process that ended with `error`: 64 if it was configured wrongly.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<Errors>() {
        Some(wrong) => wrong.exit_code(),
        None => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_errors_are_not_the_configurations_fault() {
        assert_eq!(exit_code(&anyhow::anyhow!("bind failed")), 1);
    }
}
