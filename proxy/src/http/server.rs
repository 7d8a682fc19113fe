//! One HTTP server connection: versions, limits, hop-by-hop headers, upgrades, errors, drain.
//!
//! Both halves call [`serve_connection`] with the service that answers; everything a connection
//! (rather than a request) needs happens here and nowhere else.

use http::{Request, Response};
use hyper::service::Service;

use super::{Body, rescue::Rescue};
use crate::{Drain, Error, config::HttpServer, io::Io};

/// The HTTP version of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// HTTP/1.0 and HTTP/1.1.
    H1,
    /// HTTP/2 with prior knowledge.
    H2,
}

/// Serves `io` until the client is done, an error is fatal, or `drain` asks for an end.
///
/// The service sees requests without hop-by-hop headers (upgrades excepted) and answers with
/// errors of ours; it need not handle upgrades beyond returning the peer's response with its
/// extensions.
pub async fn serve_connection<I, S>(
    _io: I,
    _version: Version,
    _settings: &HttpServer,
    _rescue: Rescue,
    _service: S,
    _drain: Drain,
) -> Result<(), Error>
where
    I: Io,
    S: Service<Request<Body>, Response = Response<Body>, Error = Error> + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    todo!()
}
