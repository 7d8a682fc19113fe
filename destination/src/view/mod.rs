//! Answers, computed from the index by pure functions.
//!
//! What is a proxy's question (a key here), what is the answer (a plain value), and how the one
//! follows from the other. No protocol messages: those are made in [`crate::grpc`].

mod endpoints;
mod inbound;
mod name;
mod outbound;
mod profile;
mod protocol;

pub(crate) use endpoints::{Endpoint, Endpoints, EndpointsKey, Hint, endpoints};
pub(crate) use inbound::{
    Admission, Authn, Inbound, InboundKey, InboundProtocol, PolicyRef, inbound,
};
pub(crate) use name::{Authority, Host};
pub(crate) use outbound::{Backend, Outbound, Resource, outbound};
pub(crate) use profile::{Profile, profile};
pub(crate) use protocol::Protocol;

use crate::index::Service;
use std::net::SocketAddr;

/// Who asks, as far as it changes the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Audience {
    /// A workload of this cluster.
    Mesh,
    /// A gateway of this cluster, on behalf of another cluster.
    Gateway,
}

impl Audience {
    /// The export gate: a gateway learns of exported Services only, and of the ports they have.
    /// Whatever asks about a Service passes here first; one that may not be seen is answered as one
    /// that is not there.
    fn sees(self, service: &Service, port: u16) -> bool {
        match self {
            Self::Mesh => true,
            Self::Gateway => service.exported && service.port(port).is_some(),
        }
    }
}

/// A question about where traffic goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TargetKey {
    /// Who asks.
    pub(crate) audience: Audience,
    /// About what.
    pub(crate) target: Target,
}

/// Where traffic goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    /// To an address, as a connection's original destination.
    Address(SocketAddr),
    /// To a name.
    Name(Host, u16),
}

#[cfg(test)]
mod tests;
