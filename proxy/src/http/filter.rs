//! What a route does to a request by itself: change headers, redirect, fail on purpose.

use http::{
    HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri,
    uri::{Authority, PathAndQuery, Scheme},
};
use linkerd2_proxy_api::{grpc_route as grpc_api, http_route as api, http_types};

use super::route::InvalidRoute;
use crate::Error;

/// One filter.
#[derive(Clone, Debug)]
pub enum Filter {
    /// Changes the request's headers.
    RequestHeaders(Headers),
    /// Changes the response's headers.
    ResponseHeaders(Headers),
    /// Answers: elsewhere.
    Redirect(Redirect),
    /// Answers: failed.
    Fail(Failure),
}

/// Changes to headers: added, then set, then removed.
#[derive(Clone, Debug, Default)]
pub struct Headers {
    add: Vec<(HeaderName, HeaderValue)>,
    set: Vec<(HeaderName, HeaderValue)>,
    remove: Vec<HeaderName>,
}

/// Where a redirect leads; what is not given stays.
#[derive(Clone, Debug)]
pub struct Redirect {
    scheme: Option<Scheme>,
    host: Option<String>,
    port: Option<u16>,
    path: Option<Path>,
    status: StatusCode,
}

#[derive(Clone, Debug)]
enum Path {
    Full(String),
    Prefix(String),
}

/// A failure made on purpose, for a share of requests.
#[derive(Clone, Debug)]
pub struct Failure {
    answer: Answer,
    message: String,
    ratio: Option<(u32, u32)>,
}

#[derive(Clone, Copy, Debug)]
enum Answer {
    Http(StatusCode),
    Grpc(u16),
}

/// Applies every filter to the request; an error is the answer. Response filters do nothing here.
pub fn on_request<B>(filters: &[Filter], request: &mut Request<B>) -> Result<(), Error> {
    for filter in filters {
        match filter {
            Filter::RequestHeaders(headers) => headers.apply(request.headers_mut()),
            Filter::ResponseHeaders(_) => {}
            Filter::Redirect(redirect) => return Err(redirect.answer(request)),
            Filter::Fail(failure) => failure.answer()?,
        }
    }
    Ok(())
}

/// Applies response filters.
pub fn on_response(filters: &[Filter], headers: &mut HeaderMap) {
    for filter in filters {
        if let Filter::ResponseHeaders(change) = filter {
            change.apply(headers);
        }
    }
}

impl Headers {
    /// From a policy's request modifier.
    pub fn request(proto: api::RequestHeaderModifier) -> Result<Self, InvalidRoute> {
        Self::from_parts(proto.add, proto.set, proto.remove)
    }

    /// From a policy's response modifier.
    pub fn response(proto: api::ResponseHeaderModifier) -> Result<Self, InvalidRoute> {
        Self::from_parts(proto.add, proto.set, proto.remove)
    }

    fn from_parts(
        add: Option<http_types::Headers>,
        set: Option<http_types::Headers>,
        remove: Vec<String>,
    ) -> Result<Self, InvalidRoute> {
        Ok(Self {
            add: pairs(add)?,
            set: pairs(set)?,
            remove: remove.into_iter().map(name).collect::<Result<_, _>>()?,
        })
    }

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

impl Redirect {
    /// From a policy.
    pub fn from_proto(proto: api::RequestRedirect) -> Result<Self, InvalidRoute> {
        use api::path_modifier::Replace;
        let status = match proto.status {
            0 => StatusCode::MOVED_PERMANENTLY,
            code => status(code)?,
        };
        let scheme = proto
            .scheme
            .map(|scheme| {
                Scheme::try_from(scheme)
                    .map_err(|error| InvalidRoute::Value(error.to_string(), "scheme"))
            })
            .transpose()?;
        let path = proto
            .path
            .map(|path| match path.replace {
                Some(Replace::Full(path)) => Ok(Path::Full(path)),
                Some(Replace::Prefix(path)) => Ok(Path::Prefix(path)),
                None => Err(InvalidRoute::Missing("path of a redirect")),
            })
            .transpose()?;
        let port = u16::try_from(proto.port)
            .map_err(|_| InvalidRoute::Value(proto.port.to_string(), "port"))?;
        Ok(Self {
            scheme,
            host: Some(proto.host).filter(|host| !host.is_empty()),
            port: Some(port).filter(|port| *port != 0),
            path,
            status,
        })
    }

    fn answer<B>(&self, request: &Request<B>) -> Error {
        match self.location(request) {
            Some(location) => Error::Redirect {
                status: self.status,
                location,
            },
            None => Error::InvalidPolicy("a redirect leads nowhere".into()),
        }
    }

    fn location<B>(&self, request: &Request<B>) -> Option<HeaderValue> {
        let uri = request.uri();
        let here = uri.authority().cloned();
        let here = here.or_else(|| super::orig_proto::host(request));
        let host = self
            .host
            .clone()
            .or_else(|| here.as_ref().map(|here| here.host().to_owned()))?;
        let port = self
            .port
            .or_else(|| here.as_ref().and_then(|here| here.port_u16()));
        let authority = match port {
            Some(port) => format!("{host}:{port}"),
            None => host,
        };
        let query = uri.query().map(|q| format!("?{q}")).unwrap_or_default();
        let path = match &self.path {
            None => uri.path().to_owned(),
            Some(Path::Full(path)) => path.clone(),
            // Which prefix matched is not known here; replacing the root is what it can mean.
            Some(Path::Prefix(path)) => {
                format!("{}{}", path.trim_end_matches('/'), uri.path())
            }
        };
        let mut parts = http::uri::Parts::default();
        parts.scheme = self
            .scheme
            .clone()
            .or_else(|| uri.scheme().cloned())
            .or(Some(Scheme::HTTP));
        parts.authority = Some(authority.parse::<Authority>().ok()?);
        parts.path_and_query = Some(format!("{path}{query}").parse::<PathAndQuery>().ok()?);
        let location = Uri::from_parts(parts).ok()?;
        HeaderValue::try_from(location.to_string()).ok()
    }
}

impl Failure {
    /// From a policy.
    pub fn http(proto: api::HttpFailureInjector) -> Result<Self, InvalidRoute> {
        Ok(Self {
            answer: Answer::Http(status(proto.status)?),
            message: proto.message,
            ratio: ratio(proto.ratio)?,
        })
    }

    /// From a policy.
    pub fn grpc(proto: grpc_api::GrpcFailureInjector) -> Result<Self, InvalidRoute> {
        let code = u16::try_from(proto.code)
            .map_err(|_| InvalidRoute::Value(proto.code.to_string(), "gRPC status"))?;
        Ok(Self {
            answer: Answer::Grpc(code),
            message: proto.message,
            ratio: ratio(proto.ratio)?,
        })
    }

    fn answer(&self) -> Result<(), Error> {
        let spared = self
            .ratio
            .is_some_and(|(n, of)| rand::random_range(0..of) >= n);
        if spared {
            return Ok(());
        }
        let message = self.message.clone();
        Err(match self.answer {
            Answer::Http(status) => Error::InjectedFailure { status, message },
            Answer::Grpc(code) => Error::InjectedGrpcFailure { code, message },
        })
    }
}

fn pairs(
    headers: Option<http_types::Headers>,
) -> Result<Vec<(HeaderName, HeaderValue)>, InvalidRoute> {
    headers
        .into_iter()
        .flat_map(|headers| headers.headers)
        .map(|header| {
            let value = HeaderValue::from_bytes(&header.value)
                .map_err(|_| InvalidRoute::Value(header.name.clone(), "header value"))?;
            Ok((name(header.name)?, value))
        })
        .collect()
}

fn name(text: String) -> Result<HeaderName, InvalidRoute> {
    text.parse()
        .map_err(|_| InvalidRoute::Value(text, "header name"))
}

fn status(code: u32) -> Result<StatusCode, InvalidRoute> {
    u16::try_from(code)
        .ok()
        .and_then(|code| StatusCode::from_u16(code).ok())
        .ok_or_else(|| InvalidRoute::Value(code.to_string(), "status"))
}

fn ratio(ratio: Option<api::Ratio>) -> Result<Option<(u32, u32)>, InvalidRoute> {
    match ratio {
        Some(api::Ratio { denominator: 0, .. }) => {
            Err(InvalidRoute::Value("0".into(), "denominator"))
        }
        ratio => Ok(ratio.map(|ratio| (ratio.numerator, ratio.denominator))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_added_then_set_then_removed() {
        let header = |name: &str, value: &str| http_types::headers::Header {
            name: name.into(),
            value: value.into(),
        };
        let list = |headers| Some(http_types::Headers { headers });
        let filter = Filter::RequestHeaders(
            Headers::request(api::RequestHeaderModifier {
                add: list(vec![header("a", "2")]),
                set: list(vec![header("b", "3")]),
                remove: vec!["c".into()],
            })
            .unwrap(),
        );
        let mut request = Request::get("/")
            .header("a", "1")
            .header("b", "1")
            .header("c", "1")
            .body(())
            .unwrap();
        on_request(&[filter], &mut request).unwrap();
        let a: Vec<_> = request.headers().get_all("a").iter().collect();
        assert_eq!(a, ["1", "2"]);
        assert_eq!(request.headers()["b"], "3");
        assert!(!request.headers().contains_key("c"));
    }

    #[test]
    fn a_redirect_keeps_what_it_does_not_change() {
        let redirect = Redirect::from_proto(api::RequestRedirect {
            host: "other".into(),
            status: 302,
            ..Default::default()
        })
        .unwrap();
        let mut request = Request::get("/a?b=c")
            .header("host", "web:8080")
            .body(())
            .unwrap();
        let answer = on_request(&[Filter::Redirect(redirect)], &mut request);
        let Err(Error::Redirect { status, location }) = answer else {
            panic!("{answer:?}");
        };
        assert_eq!(
            (status.as_u16(), location),
            (302, "http://other:8080/a?b=c".parse().unwrap())
        );
    }

    #[test]
    fn failures_hit_the_share_they_were_given() {
        let failure = |numerator| {
            Filter::Fail(
                Failure::http(api::HttpFailureInjector {
                    status: 500,
                    message: "on purpose".into(),
                    ratio: Some(api::Ratio {
                        numerator,
                        denominator: 10,
                    }),
                })
                .unwrap(),
            )
        };
        for _ in 0..100 {
            let mut request = Request::new(());
            assert!(on_request(&[failure(0)], &mut request).is_ok());
            assert!(on_request(&[failure(10)], &mut request).is_err());
        }
    }
}
