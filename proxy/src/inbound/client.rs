//! What is known about a client once its TLS (or lack of it) was looked at.

use std::{net::SocketAddr, sync::Arc};

use mesh_tls::{Id, Verified};

use super::{Inbound, policy};
use crate::{
    Error,
    directives::{Admitted, Refusal},
    metrics::{Counter, InboundLabels, Meta, TlsLabels},
};

/// A client.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) addr: SocketAddr,
    pub(super) tls: Tls,
    /// That nothing denies it, whatever policies say.
    pub(super) admitted: Arc<Admitted>,
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

impl Tls {
    fn id(&self) -> Option<&Id> {
        match self {
            Self::Mesh(Some(verified)) => Some(verified.id()),
            _ => None,
        }
    }

    fn labels(&self) -> TlsLabels {
        match self {
            Self::None(reason) => TlsLabels::None(reason),
            Self::Opaque(sni) => TlsLabels::Opaque(sni.clone()),
            Self::Mesh(_) => TlsLabels::Client(self.id().map(|id| id.as_str().into())),
        }
    }
}

impl Client {
    /// A client that comes to `target`, unless it is denied or has too much already.
    pub(super) fn admit(
        inbound: &Inbound,
        target: SocketAddr,
        addr: SocketAddr,
        tls: Tls,
    ) -> Result<Self, Error> {
        match inbound.0.runtime.directives.admit(tls.id()) {
            Ok(admitted) => Ok(Self {
                addr,
                tls,
                admitted: Arc::new(admitted),
            }),
            Err(Refusal::Denied(by)) => Err(denied(
                inbound,
                Counter::TcpDeny,
                target,
                &tls.labels(),
                &by,
            )),
            Err(Refusal::Full) => Err(Error::LoadShed(
                "the client has as many connections as its ClientRestriction allows",
            )),
        }
    }

    /// Serves it until it is denied: then everything of it ends at once.
    pub(super) async fn unless_denied(
        &self,
        inbound: &Inbound,
        target: SocketAddr,
        serving: impl Future<Output = Result<(), Error>>,
    ) -> Result<(), Error> {
        let by = tokio::select! {
            biased;
            served = serving => return served,
            by = self.admitted.denied() => by,
        };
        let tls = self.labels();
        Err(denied(inbound, Counter::TcpTerminate, target, &tls, &by))
    }

    pub(super) fn id(&self) -> Option<&Id> {
        self.tls.id()
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
        self.tls.labels()
    }
}

/// Counted as what a policy refuses is, with the restriction in its place.
fn denied(
    inbound: &Inbound,
    counter: Counter,
    target: SocketAddr,
    tls: &TlsLabels,
    by: &Meta,
) -> Error {
    let labels = InboundLabels {
        target,
        tls,
        server: by,
        route: None,
        authz: None,
    };
    let metrics = &inbound.0.runtime.metrics;
    metrics.inbound_count(counter, &labels).increment();
    Error::Denied(by.name.to_string())
}
