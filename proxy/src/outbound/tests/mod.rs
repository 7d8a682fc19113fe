//! Claims about the outbound half as a whole, each shown with real sockets and mesh TLS.

mod failover;
mod hostile;
mod metrics;
mod odd;
mod paths;
mod profiles;
mod reconnect;
mod resilience;
pub(crate) mod sandbox;
mod withdrawn;
