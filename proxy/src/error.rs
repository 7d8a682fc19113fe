//! What can go wrong with a connection or a request, for both halves.
//!
//! Every step returns [`Error`]; only [`crate::http::rescue`] turns one into a response, and only
//! [`crate::metrics`] turns one into a label. Nothing here formats for a wire.

use std::{borrow::Cow, io, net::SocketAddr, time::Duration};

/// Why a connection or a request failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The endpoint did not accept a connection.
    #[error("connecting to {addr} failed: {source}")]
    Connect {
        /// Who was dialled.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The endpoint did not accept a connection (or finish its handshake) in time.
    #[error("connecting to {addr} took longer than {timeout:?}")]
    ConnectTimeout {
        /// Who was dialled.
        addr: SocketAddr,
        /// The configured limit.
        timeout: Duration,
    },
    /// Mesh TLS failed: wrong identity, foreign anchors, broken records.
    #[error(transparent)]
    Tls(#[from] mesh_tls::Error),
    /// The transport is broken.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// HTTP to or from the peer is broken.
    #[error("{}", chain(.0))]
    Http(#[from] hyper::Error),
    /// HTTP/2 to the peer is broken. A reset keeps its code.
    #[error("{}", chain(.0))]
    Http2(#[from] h2::Error),
    /// A request upgraded to HTTP/2 for the next hop failed there; never shown as a reset.
    #[error("{}", chain(.0))]
    Downgraded(#[source] h2::Error),
    /// The request asked for an identity the endpoint does not have.
    #[error("required identity {required} but found {}", found.as_deref().unwrap_or("none"))]
    IdentityRequired {
        /// What the application asked for.
        required: String,
        /// What discovery says the endpoint has.
        found: Option<String>,
    },
    /// No endpoint became ready in time; more requests fail at once until one is.
    #[error("{0} service in fail-fast")]
    FailFast(String),
    /// Too much is in flight.
    #[error("load shed: {0}")]
    LoadShed(&'static str),
    /// A backend that must not be reached.
    #[error("{0}")]
    Fail(String),
    /// A policy's request, response or idle timeout.
    #[error("{0} timed out after {1:?}")]
    Timeout(&'static str, Duration),
    /// Discovery withdrew the endpoint while the request waited for its answer.
    #[error("{0} did not answer before it was withdrawn")]
    Withdrawn(SocketAddr),
    /// No route matches.
    #[error("no route found for request")]
    RouteNotFound,
    /// A route answers by itself: elsewhere.
    #[error("redirected to {location:?}")]
    Redirect {
        /// Status of the answer.
        status: http::StatusCode,
        /// Where to.
        location: http::HeaderValue,
    },
    /// A route answers by itself: with a failure.
    #[error("{message}")]
    InjectedFailure {
        /// Status of the answer.
        status: http::StatusCode,
        /// Text of the answer.
        message: String,
    },
    /// As [`Error::InjectedFailure`], for gRPC.
    #[error("{message}")]
    InjectedGrpcFailure {
        /// `grpc-status` of the answer.
        code: u16,
        /// Text of the answer.
        message: String,
    },
    /// Policy does not allow this client here.
    #[error("unauthorized connection on {0}")]
    Unauthorized(String),
    /// Nothing is allowed to this client, whatever policies say.
    #[error("the client is denied by ClientRestriction {0}")]
    Denied(String),
    /// A route's or client's share is used up.
    #[error("rate limited")]
    RateLimited,
    /// The control plane sent a policy that cannot be followed.
    #[error("invalid policy: {0}")]
    InvalidPolicy(String),
    /// The name is not one this gateway serves, or this proxy is no gateway.
    #[error("bad gateway domain: {0}")]
    GatewayDomainInvalid(String),
    /// The Service this gateway served it for was withdrawn while it went on.
    #[error("{0} is not exported any more")]
    Unexported(String),
    /// What another cluster served is imported no more.
    #[error("{0} is not imported any more")]
    Unimported(String),
    /// The request has been here before.
    #[error("gateway loop: {0}")]
    GatewayLoop(String),
    /// A connection would come back to this proxy.
    #[error("connection to {0} would loop back to this proxy")]
    Loop(SocketAddr),
    /// What the client sent makes no sense.
    #[error("bad request: {0}")]
    BadRequest(&'static str),
    /// The client of the direct listener did not prove an identity.
    #[error("refused: the client proved no identity: {0}")]
    NoIdentity(Cow<'static, str>),
    /// The client of the direct listener did not send a transport header.
    #[error("refused: {0}")]
    TransportHeader(#[from] crate::transport_header::Error),
    /// Nothing was sent within the detection timeout.
    #[error("{0} detection timed out after {1:?}")]
    DetectTimeout(&'static str, Duration),
    /// The process is stopping.
    #[error("the proxy is shutting down")]
    Shutdown,
    /// Anything else; answered with 500.
    #[error("{0}")]
    Other(Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// An error nobody else has a word for.
    pub fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Other(error.into())
    }
}

/// What the connection below HTTP failed with, if it was that.
pub(crate) fn io_kind(error: &hyper::Error) -> Option<std::io::ErrorKind> {
    let source = std::error::Error::source(error)?;
    Some(source.downcast_ref::<std::io::Error>()?.kind())
}

/// The HTTP/2 error within, if there is one.
pub(crate) fn h2_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a h2::Error> {
    let mut source = Some(error);
    while let Some(error) = source {
        if let Some(h2) = error.downcast_ref::<h2::Error>() {
            return Some(h2);
        }
        source = error.source();
    }
    None
}

/// An error of the HTTP library with its causes: by itself it says no more than where it was.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
