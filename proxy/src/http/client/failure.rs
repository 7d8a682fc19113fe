//! How far a failed request got.

use std::{io::ErrorKind, net::SocketAddr};

use h2::Reason;
use http::Request;

use crate::{Error, error::io_kind, http::Body};

/// How far a request got before it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// There was no connection to send it on: nobody has seen it.
    Connect,
    /// The peer has certainly not processed it: it was not written, or refused unprocessed.
    Unprocessed,
    /// The connection was lost before the response: the peer may have processed it.
    Lost,
    /// The peer, or the client's own body, ended it on purpose; sending it again is pointless.
    Final,
}

/// A request that failed.
#[derive(Debug)]
pub struct Failed {
    /// Why.
    pub error: Error,
    /// How far it got.
    pub stage: Stage,
    /// The request with its body untouched, when nothing of it was sent.
    pub request: Option<Request<Body>>,
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Body")
    }
}

impl Failed {
    /// Before there was a connection.
    pub fn connect(error: Error, request: Request<Body>) -> Box<Self> {
        Box::new(Self {
            error,
            stage: Stage::Connect,
            request: Some(request),
        })
    }

    /// While it waited at an endpoint that was withdrawn: nobody knows how far it got.
    pub fn withdrawn(addr: SocketAddr) -> Box<Self> {
        Box::new(Self {
            error: Error::Withdrawn(addr),
            stage: Stage::Lost,
            request: None,
        })
    }

    /// On a connection.
    pub fn sending(error: Error, request: Option<Request<Body>>) -> Box<Self> {
        let stage = match &request {
            Some(_) => Stage::Unprocessed,
            None => stage(&error),
        };
        Box::new(Self {
            error,
            stage,
            request,
        })
    }
}

fn stage(error: &Error) -> Stage {
    match error {
        Error::Http(error) => stage_h1(error),
        Error::Http2(error) => stage_h2(error),
        _ => Stage::Lost,
    }
}

fn stage_h1(error: &hyper::Error) -> Stage {
    if error.is_user() || error.is_body_write_aborted() {
        return Stage::Final;
    }
    // The response was refused, rather than lost.
    match error.is_parse() || io_kind(error) == Some(ErrorKind::InvalidData) {
        true => Stage::Final,
        false => Stage::Lost,
    }
}

fn stage_h2(error: &h2::Error) -> Stage {
    let reason = error.reason();
    // RFC 9113 §8.7: a refused stream, or one above the last of a GOAWAY, was not processed.
    let unprocessed = match error.is_go_away() {
        true => reason == Some(Reason::NO_ERROR),
        false => reason == Some(Reason::REFUSED_STREAM),
    };
    if unprocessed && error.is_remote() {
        return Stage::Unprocessed;
    }
    match error.is_reset() {
        true => Stage::Final,
        false => Stage::Lost,
    }
}
