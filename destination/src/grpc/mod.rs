//! The services proxies speak with, on two listeners.
//!
//! A request is: who calls ([`caller`]) → what about (the key of a view) → the view's receiver →
//! messages (pure conversions: [`endpoints`], [`profile`], [`outbound`], [`inbound`]) for as long
//! as the stream lives ([`follow`]). The index is asked under a lock held for one look-up.

mod caller;
mod destination;
mod directives;
mod endpoints;
mod follow;
mod inbound;
mod meta;
mod metrics;
mod outbound;
mod policies;
mod profile;

pub(crate) use metrics::Metrics;

use crate::{config::Config, index::Index};
use linkerd2_proxy_api::{
    destination::destination_server::DestinationServer,
    inbound::inbound_server_policies_server::InboundServerPoliciesServer,
    outbound::outbound_policies_server::OutboundPoliciesServer,
};
use mesh_daemon::Shutdown;
use mesh_tls::control::Services;
use parking_lot::Mutex;
use std::sync::Arc;

/// What every request needs.
#[derive(Clone)]
pub(crate) struct Api {
    /// The cluster and its answers.
    pub(crate) index: Arc<Mutex<Index>>,
    /// What does not change.
    pub(crate) config: Arc<Config>,
    /// Streams end when it is requested.
    pub(crate) shutdown: Shutdown,
    /// Streams, messages, refusals.
    pub(crate) metrics: Metrics,
}

/// No question of a proxy is longer.
const MAX_REQUEST: usize = 8 << 10;

impl Api {
    /// What the discovery port serves.
    pub(crate) fn discovery(self) -> Services {
        let destination = DestinationServer::new(self);
        Services::new().add(destination.max_decoding_message_size(MAX_REQUEST))
    }

    /// What the policy port serves.
    pub(crate) fn policies(self) -> Services {
        let inbound = InboundServerPoliciesServer::new(self.clone());
        let outbound = OutboundPoliciesServer::new(self.clone());
        Services::new()
            .add(inbound.max_decoding_message_size(MAX_REQUEST))
            .add(outbound.max_decoding_message_size(MAX_REQUEST))
            .add(self.directives())
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod valid;
