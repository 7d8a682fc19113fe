//! Applying filters to requests and responses.

use http::{HeaderMap, HeaderValue, Request, Uri};

use super::{Failure, Filter, HeaderChange, PathChange, Redirect, matching::host_of};
use crate::Error;

/// Applies what concerns a request; an `Err` is the answer instead of forwarding.
///
/// `roll` is a random number below the given bound, `prefix` the length of the matched path
/// prefix.
pub fn on_request<T>(
    filters: &[Filter],
    request: &mut Request<T>,
    prefix: usize,
    mut roll: impl FnMut(u32) -> u32,
) -> Result<(), Error> {
    for filter in filters {
        match filter {
            Filter::RequestHeaders(change) => change.apply(request.headers_mut()),
            Filter::ResponseHeaders(_) => {}
            Filter::Redirect(redirect) => return Err(redirect.answer(request, prefix)),
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
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name, value.clone());
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

impl Redirect {
    fn answer<T>(&self, request: &Request<T>, prefix: usize) -> Error {
        match self.location(request, prefix) {
            Some(location) => Error::Redirect {
                status: self.status,
                location,
            },
            None => Error::InvalidPolicy("a redirect that makes no valid location".to_owned()),
        }
    }

    fn location<T>(&self, request: &Request<T>, prefix: usize) -> Option<HeaderValue> {
        let uri = request.uri();
        let scheme = match &self.scheme {
            Some(scheme) => scheme.as_str(),
            None => uri.scheme_str().unwrap_or("http"),
        };
        let host = match &self.host {
            Some(host) => host.clone(),
            None => host_of(request)?,
        };
        let port = match (self.port, &self.host, &self.scheme) {
            (Some(port), ..) => Some(port),
            (None, None, None) => port_of(request),
            _ => None,
        };
        let authority = match port {
            Some(80) if scheme == "http" => host,
            Some(443) if scheme == "https" => host,
            Some(port) => format!("{host}:{port}"),
            None => host,
        };
        let path = match &self.path {
            None => uri.path().to_owned(),
            Some(PathChange::Full(path)) => path.clone(),
            Some(PathChange::Prefix(new)) => {
                let rest = uri.path().get(prefix..).unwrap_or_default();
                format!("{}{rest}", new.trim_end_matches('/'))
            }
        };
        let path = if path.starts_with('/') {
            path
        } else {
            format!("/{path}")
        };
        let query = uri.query().map(|q| format!("?{q}")).unwrap_or_default();
        let location: Uri = format!("{scheme}://{authority}{path}{query}")
            .parse()
            .ok()?;
        HeaderValue::from_str(&location.to_string()).ok()
    }
}

fn port_of<T>(request: &Request<T>) -> Option<u16> {
    if let Some(authority) = request.uri().authority() {
        return authority.port_u16();
    }
    let host = request.headers().get(http::header::HOST)?.to_str().ok()?;
    host.parse::<http::uri::Authority>().ok()?.port_u16()
}
