//! Claims about the outbound half as a whole, each shown with real sockets and mesh TLS.

mod failover;
mod forms;
mod grpc;
mod hostile;
mod labels;
mod metrics;
mod names;
mod odd;
mod paths;
mod profile_retries;
mod profiles;
mod reconnect;
mod resets;
mod resilience;
mod retries;
pub(crate) mod sandbox;
mod server_first;
mod withdrawn;
