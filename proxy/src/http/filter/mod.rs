//! What a route does to a request by itself: change headers, redirect, fail on purpose.
//!
//! The one filter engine of inbound and outbound policies; [`proto`] makes filters from the wire,
//! [`redirect`] works out where a redirect leads.

mod proto;
mod redirect;
#[cfg(test)]
mod tests;

use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};

use crate::Error;

pub use redirect::{PathChange, Redirect};

/// One filter.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    /// Changes the request's headers.
    RequestHeaders(HeaderChange),
    /// Changes the response's headers.
    ResponseHeaders(HeaderChange),
    /// Answers: elsewhere.
    Redirect(Redirect),
    /// Answers: failed.
    Fail {
        /// What share of requests, as numerator and denominator.
        ratio: (u32, u32),
        /// Which failure.
        failure: Failure,
    },
}

/// An injected failure.
#[derive(Clone, Debug, PartialEq)]
pub enum Failure {
    /// An HTTP status.
    Http(StatusCode, String),
    /// A gRPC status.
    Grpc(u16, String),
}

/// Headers added, then set, then removed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeaderChange {
    /// Appended.
    pub add: Vec<(HeaderName, HeaderValue)>,
    /// Replaced.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Removed.
    pub remove: Vec<HeaderName>,
}

/// Applies what concerns a request; an error is the answer instead of forwarding.
///
/// `prefix` is the length of the path's prefix that matched, if that is how it matched.
pub fn on_request<T>(
    filters: &[Filter],
    request: &mut Request<T>,
    prefix: Option<usize>,
) -> Result<(), Error> {
    on_request_with(filters, request, prefix, |bound| {
        rand::random_range(0..bound)
    })
}

/// As [`on_request`]; `roll` gives a random number below its bound.
fn on_request_with<T>(
    filters: &[Filter],
    request: &mut Request<T>,
    prefix: Option<usize>,
    mut roll: impl FnMut(u32) -> u32,
) -> Result<(), Error> {
    for filter in filters {
        match filter {
            Filter::RequestHeaders(change) => change.apply(request.headers_mut()),
            Filter::ResponseHeaders(_) => {}
            Filter::Redirect(redirect) => redirect.answer(request, prefix)?,
            Filter::Fail { ratio, failure } => {
                let (numerator, denominator) = *ratio;
                if denominator == 0 || roll(denominator) < numerator {
                    return Err(failure.answer());
                }
            }
        }
    }
    Ok(())
}

/// Applies what concerns a response.
pub fn on_response(filters: &[Filter], headers: &mut HeaderMap) {
    for filter in filters {
        if let Filter::ResponseHeaders(change) = filter {
            change.apply(headers);
        }
    }
}

impl HeaderChange {
    fn apply(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.add {
            headers.append(name, value.clone());
        }
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for name in &self.remove {
            headers.remove(name);
        }
    }
}

impl Failure {
    fn answer(&self) -> Error {
        match self {
            Self::Http(status, message) => Error::InjectedFailure {
                status: *status,
                message: message.clone(),
            },
            Self::Grpc(code, message) => Error::InjectedGrpcFailure {
                code: *code,
                message: message.clone(),
            },
        }
    }
}
