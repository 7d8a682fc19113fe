//! Who calls: proven by mesh TLS, never taken from a message.

use super::Api;
use crate::{index::Gateways, view::Audience};
use mesh_tls::control::ClientIdentity;
use std::sync::Arc;
use tokio::sync::watch;
use tonic::{Request, Status};

/// An authenticated caller.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    identity: Arc<str>,
    gateways: watch::Receiver<Gateways>,
    /// As what the stream began. Answers are made for one audience.
    pub(super) audience: Audience,
}

impl Caller {
    /// The caller of `request`; callers without an identity are refused.
    pub(super) fn of<T>(api: &Api, request: &Request<T>) -> Result<Self, Status> {
        let identity = request.extensions().get::<ClientIdentity>();
        let Some(verified) = identity.and_then(|identity| identity.0.as_ref()) else {
            api.metrics.refused("unauthenticated");
            return Err(Status::unauthenticated(
                "callers must show a mesh identity; connect with mesh TLS and a client certificate",
            ));
        };
        let identity = verified.id().to_string();
        let identity = identity.trim_end_matches('.').to_ascii_lowercase();
        Ok(Self::new(identity.into(), api.index.lock().gateways()))
    }

    /// Who it is, in lower case.
    pub(super) fn identity(&self) -> Arc<str> {
        self.identity.clone()
    }

    /// A caller with this identity.
    fn new(identity: Arc<str>, gateways: watch::Receiver<Gateways>) -> Self {
        let mut caller = Self {
            identity,
            gateways,
            audience: Audience::Gateway,
        };
        caller.audience = caller.current();
        caller
    }

    /// Whether the caller is still what it was when it called.
    pub(super) fn unchanged(&mut self) -> bool {
        self.current() == self.audience
    }

    /// Waits until it may have become something else.
    pub(super) async fn changed(&mut self) {
        if self.gateways.changed().await.is_err() {
            // The index is gone, and the streams on it end by themselves.
            std::future::pending::<()>().await;
        }
    }

    fn current(&mut self) -> Audience {
        match self.gateways.borrow_and_update().contains(&self.identity) {
            true => Audience::Gateway,
            false => Audience::Mesh,
        }
    }
}
