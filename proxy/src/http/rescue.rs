//! The one place where an error becomes a response, HTTP and gRPC.

use http::Response;

use super::Body;
use crate::Error;

/// How errors of one server connection are shown to its client.
#[derive(Clone, Copy, Debug)]
pub struct Rescue {
    /// Whether `l5d-proxy-error` may tell the client what happened.
    pub informational: bool,
}

/// What of a request decides how its error looks.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// The version the client speaks on this connection.
    pub version: http::Version,
    /// Whether an error must be a gRPC status.
    pub grpc: bool,
}

/// An error as its client will see it.
pub enum Rescued {
    /// A response, and whether the connection must end after it.
    Response(Box<Response<Body>>, Close),
    /// An HTTP/2 reset with the code the peer sent.
    Reset(crate::http::body::BodyError),
}

/// Whether the connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// Gracefully end the connection.
    Yes,
    /// Keep it.
    No,
}

impl Rescue {
    /// Maps `error` to what the client of a request sees.
    pub fn rescue(&self, _asked: Asked, _error: Error) -> Rescued {
        todo!()
    }
}
