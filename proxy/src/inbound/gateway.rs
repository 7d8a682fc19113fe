//! The seam a gateway plugs into: what to do with a connection or request for a *name*.
//!
//! The inbound half has verified the client and asked the policy of the gateway's own port before
//! it calls; `gateway/` implements the trait with the outbound half. Nothing here routes.

use futures::future::BoxFuture;
use http::{Request, Response};

use crate::{Error, http::Body, io::BoxIo};

/// What the transport header named.
#[derive(Clone, Debug)]
pub struct NamedTarget {
    /// A DNS name, in lower case, without a trailing dot.
    pub name: String,
    /// The service's port.
    pub port: u16,
    /// Who asks, as proven by mesh TLS.
    pub client: mesh_tls::Verified,
}

/// Serves names other than this proxy's workload.
pub trait Gateway: Send + Sync + 'static {
    /// Answers one request.
    fn http(
        &self,
        target: NamedTarget,
        request: Request<Body>,
    ) -> BoxFuture<'static, Result<Response<Body>, Error>>;

    /// Forwards one connection until it ends.
    fn tcp(&self, target: NamedTarget, io: BoxIo) -> BoxFuture<'static, Result<(), Error>>;
}
