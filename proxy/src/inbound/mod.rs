//! What the workload receives: accept, verify, ask the policy, hand to the application.
//!
//! A connection takes these steps, one file each, none looking back:
//! [`accept`] (peer and original destination) → [`direct`] if it was addressed to the proxy itself,
//! [`port`] if to the workload → [`tls`] (who is it?) → [`tcp`] or [`http`] (may it?) → [`app`],
//! or the [`gateway`] for a name that is not this workload's. [`profiles`] says what else requests are
//! counted by.

mod accept;
mod app;
mod client;
mod direct;
pub mod gateway;
mod http;
pub mod policy;
mod port;
mod profiles;
mod tcp;
#[cfg(test)]
pub(crate) mod tests;
mod tls;

use std::{net::SocketAddr, sync::Arc};

use mesh_daemon::{admin::Admin, net::Listener};
use mesh_tls::Slots;
use tokio::{net::TcpStream, sync::Semaphore};
use tracing::Instrument;

use crate::{Drain, Error, Runtime, control::Control, metrics::Counter};
use accept::Addrs;
use gateway::Gateway;
use policy::watch::Policies;
use profiles::Profiles;

/// The inbound half. Cloned freely.
#[derive(Clone)]
pub struct Inbound(Arc<Inner>);

struct Inner {
    runtime: Runtime,
    policies: Policies,
    profiles: Profiles,
    apps: app::Apps,
    gateway: Option<Arc<dyn Gateway>>,
    admin: Admin,
    /// Ports this proxy listens on, as bound.
    ports: OwnPorts,
    in_flight: Arc<Semaphore>,
    /// Connections to the proxy itself before they have said what they want: anybody can open one.
    unproven: Slots,
}

/// In all, and of one address: that may be a whole cluster's, behind which a failover brings
/// hundreds at once.
const MAX_UNPROVEN: (usize, usize) = (4096, 1024);

/// Where this proxy listens itself: never a target.
#[derive(Clone, Debug)]
pub struct OwnPorts {
    /// Inbound.
    pub inbound: u16,
    /// Outbound.
    pub outbound: Vec<u16>,
    /// Admin; requests for it are answered in place.
    pub admin: u16,
}

impl Inbound {
    /// Builds it, with who is asked for ServiceProfiles, and starts watching the policies that will certainly be needed.
    pub fn new(
        runtime: Runtime,
        policies: Policies,
        control: Control,
        gateway: Option<Arc<dyn Gateway>>,
        admin: Admin,
        ports: OwnPorts,
    ) -> Self {
        let config = runtime.config.clone();
        policies.watch_forever(ports.admin);
        if !config.inbound.gateway_suffixes.is_empty() {
            policies.watch_forever(ports.inbound);
        }
        for port in config.inbound.ports.iter() {
            policies.watch_forever(port);
        }
        let apps = app::Apps::new(&runtime, policies.clone());
        let in_flight = config.inbound.max_in_flight.min(Semaphore::MAX_PERMITS);
        let profiles = Profiles::new(&config, control, runtime.metrics.clone());
        Self(Arc::new(Inner {
            runtime,
            profiles,
            policies,
            apps,
            gateway,
            admin,
            ports,
            in_flight: Arc::new(Semaphore::new(in_flight)),
            unproven: Slots::new(MAX_UNPROVEN.0, MAX_UNPROVEN.1),
        }))
    }

    /// Accepts until drained. Call it once there is a certificate.
    pub async fn serve(&self, mut listener: Listener, drain: Drain) {
        let _hold = drain.hold();
        while let Some((io, client)) = listener.next(&drain).await {
            let (inbound, drain) = (self.clone(), drain.clone());
            tokio::spawn(async move {
                let _hold = drain.hold();
                let connection = inbound.connection(io, client, drain.clone());
                tokio::select! {
                    () = connection => {}
                    () = drain.aborted() => {}
                }
            });
        }
    }

    /// Accepts admin connections, from the start of the process to its very end.
    pub async fn serve_admin(&self, mut listener: Listener, drain: Drain) {
        let Ok(addr) = listener.local_addr() else {
            return;
        };
        while let Some((io, client)) = listener.next_to_the_last(&drain).await {
            let original = io.local_addr().unwrap_or(addr);
            let (inbound, drain) = (self.clone(), drain.clone());
            tokio::spawn(async move {
                let addrs = Addrs { client, original };
                let served = port::serve(&inbound, addrs, io, drain.clone());
                tokio::select! {
                    served = served => inbound.ended(addrs, served),
                    () = drain.aborted() => {}
                }
            });
        }
    }

    async fn connection(self, io: TcpStream, client: SocketAddr, drain: Drain) {
        let config = &self.0.runtime.config.inbound;
        let addrs = match accept::accepted(&io, client, config) {
            Ok(addrs) => addrs,
            Err(error) => {
                let target = io.local_addr().unwrap_or(config.listen);
                return self.ended(
                    Addrs {
                        client,
                        original: target,
                    },
                    Err(error),
                );
            }
        };
        let span =
            tracing::debug_span!("inbound", client = %addrs.client, target = %addrs.original);
        async {
            let served = if addrs.original.port() == self.0.ports.inbound {
                direct::serve(&self, addrs, io, drain).await
            } else {
                port::serve(&self, addrs, io, drain).await
            };
            self.ended(addrs, served);
        }
        .instrument(span)
        .await;
    }

    fn ended(&self, addrs: Addrs, served: Result<(), Error>) {
        match served {
            Ok(()) => tracing::debug!("connection ended"),
            // Counted where it was decided.
            Err(error @ (Error::Unauthorized(_) | Error::Denied(_))) => {
                tracing::info!(client = %addrs.client, %error, "connection refused");
            }
            Err(error) => {
                tracing::info!(client = %addrs.client, target = %addrs.original, %error, "connection failed");
                self.0.runtime.metrics.inbound_error(
                    Counter::InboundTcpErrors,
                    addrs.original,
                    &error,
                );
            }
        }
    }
}
