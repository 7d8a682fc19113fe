//! What is known about a client once its TLS (or lack of it) was looked at.

use std::{net::SocketAddr, sync::Arc};

use mesh_tls::{Id, Verified};

use super::policy;
use crate::metrics::TlsLabels;

/// A client.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) addr: SocketAddr,
    pub(super) tls: Tls,
}

/// What it speaks below its protocol.
#[derive(Clone, Debug)]
pub(super) enum Tls {
    /// Nothing, and why.
    None(&'static str),
    /// TLS that is not for us.
    Opaque(Option<Arc<str>>),
    /// Mesh TLS, and who it proved to be.
    Mesh(Option<Verified>),
}

impl Client {
    pub(super) fn id(&self) -> Option<&Id> {
        match &self.tls {
            Tls::Mesh(Some(verified)) => Some(verified.id()),
            _ => None,
        }
    }

    pub(super) fn is_meshed(&self) -> bool {
        matches!(self.tls, Tls::Mesh(_))
    }

    pub(super) fn for_policy(&self) -> policy::Client<'_> {
        policy::Client {
            ip: self.addr.ip(),
            mesh_tls: self.is_meshed().then(|| self.id()),
        }
    }

    pub(super) fn labels(&self) -> TlsLabels {
        match &self.tls {
            Tls::None(reason) => TlsLabels::None(reason),
            Tls::Opaque(sni) => TlsLabels::Opaque(sni.clone()),
            Tls::Mesh(_) => TlsLabels::Client(self.id().map(|id| id.as_str().into())),
        }
    }
}
