//! Where a redirect leads. Pure.

use http::{HeaderValue, Request, StatusCode, Uri, uri::Scheme};

use crate::{
    Error,
    http::{orig_proto, route::host_of},
};

/// Where a request is redirected to; what is `None` stays as it was.
#[derive(Clone, Debug, PartialEq)]
pub struct Redirect {
    /// `http` or `https`.
    pub scheme: Option<Scheme>,
    /// Host.
    pub host: Option<String>,
    /// Port.
    pub port: Option<u16>,
    /// Path.
    pub path: Option<PathChange>,
    /// Status of the answer.
    pub status: StatusCode,
}

/// A new path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathChange {
    /// Replaces all of it, the query included.
    Full(String),
    /// Replaces the prefix that matched.
    Prefix(String),
}

impl Redirect {
    /// The redirect as an error; nothing, if it would lead to where the request is going anyway.
    pub(super) fn answer<T>(
        &self,
        request: &Request<T>,
        prefix: Option<usize>,
    ) -> Result<(), Error> {
        let scheme = request.uri().scheme().unwrap_or(&Scheme::HTTP);
        let here = self.uri(request, scheme, None, host_of(request), port_of(request));
        let there = self.location(request, prefix);
        let value = there
            .as_ref()
            .and_then(|uri| HeaderValue::from_str(&uri.to_string()).ok());
        match value {
            _ if there.is_some() && there == here => Ok(()),
            Some(location) => Err(Error::Redirect {
                status: self.status,
                location,
            }),
            None => Err(Error::InvalidPolicy("a redirect leads nowhere".to_owned())),
        }
    }

    fn location<T>(&self, request: &Request<T>, prefix: Option<usize>) -> Option<Uri> {
        let uri = request.uri();
        let scheme = self.scheme.as_ref().or(uri.scheme());
        let scheme = scheme.unwrap_or(&Scheme::HTTP);
        let host = self.host.clone().or_else(|| host_of(request));
        let port = match (self.port, &self.scheme) {
            (Some(port), _) => Some(port),
            // Another scheme has another port, which its default stands for.
            (None, Some(other)) if uri.scheme().unwrap_or(&Scheme::HTTP) != other => None,
            (None, _) => port_of(request),
        };
        let path = match &self.path {
            None => None,
            Some(PathChange::Full(path)) => Some(path.clone()),
            Some(PathChange::Prefix(new)) => {
                let rest = uri.path().get(prefix?..)?;
                let query = uri.query().map(|q| format!("?{q}")).unwrap_or_default();
                Some(format!("{}{rest}{query}", new.trim_end_matches('/')))
            }
        };
        self.uri(request, scheme, path, host, port)
    }

    fn uri<T>(
        &self,
        request: &Request<T>,
        scheme: &Scheme,
        path: Option<String>,
        host: Option<String>,
        port: Option<u16>,
    ) -> Option<Uri> {
        let host = host?;
        let authority = match port {
            Some(80) if *scheme == Scheme::HTTP => host,
            Some(443) if *scheme == Scheme::HTTPS => host,
            Some(port) => format!("{host}:{port}"),
            None => host,
        };
        let path = path.unwrap_or_else(|| {
            let own = request.uri().path_and_query();
            own.map_or("/", |own| own.as_str()).to_owned()
        });
        let slash = if path.starts_with('/') { "" } else { "/" };
        format!("{scheme}://{authority}{slash}{path}").parse().ok()
    }
}

fn port_of<T>(request: &Request<T>) -> Option<u16> {
    match request.uri().authority() {
        Some(authority) => authority.port_u16(),
        None => orig_proto::host(request)?.port_u16(),
    }
}
