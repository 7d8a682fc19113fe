//! Conditions as the control plane sends them, made into ours. Total: no message panics or is half
//! understood.

use http::{HeaderName, Method};
use linkerd2_proxy_api::{grpc_route as grpc_api, http_route as api};
use regex::{Regex, RegexBuilder};

use super::{HostMatch, PathMatch, RequestMatch, ValueMatch};

/// What is wrong with a policy.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// A required field is not set.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A field cannot be understood.
    #[error("{0} is not valid: {1}")]
    Bad(&'static str, String),
}

/// A regex may not compile to more than this; policies come from people who may misjudge one.
const REGEX_SIZE: usize = 256 * 1024;

/// The hosts of a route.
pub fn hosts(protos: Vec<api::HostMatch>) -> Result<Vec<HostMatch>, Invalid> {
    use api::host_match::Match;
    let host = |proto: api::HostMatch| {
        Ok(match proto.r#match.ok_or(Invalid::Missing("host match"))? {
            Match::Exact(name) => HostMatch::exact(&name),
            Match::Suffix(suffix) => HostMatch::below(&suffix.reverse_labels),
        })
    };
    protos.into_iter().map(host).collect()
}

impl HostMatch {
    /// This name.
    pub fn exact(name: &str) -> Self {
        Self::Exact(name.trim_end_matches('.').to_ascii_lowercase())
    }

    /// Everything below a name, given by its labels from the right.
    pub fn below(reverse_labels: &[String]) -> Self {
        let labels: Vec<_> = reverse_labels
            .iter()
            .rev()
            .map(|label| label.to_ascii_lowercase())
            .collect();
        Self::Suffix(labels.join("."))
    }
}

impl RequestMatch {
    /// From an HTTP policy.
    pub fn http(proto: api::HttpRouteMatch) -> Result<Self, Invalid> {
        let method = proto.method.map(|method| {
            Method::try_from(method).map_err(|error| Invalid::Bad("method", error.to_string()))
        });
        let query = proto.query_params.into_iter().map(query);
        Ok(Self {
            path: proto.path.map(path).transpose()?,
            headers: headers(proto.headers)?,
            query: query.collect::<Result<_, _>>()?,
            method: method.transpose()?,
            condition: None,
        })
    }

    /// From a gRPC policy. A gRPC call is a POST to `/service/method`.
    pub fn grpc(proto: grpc_api::GrpcRouteMatch) -> Result<Self, Invalid> {
        let rpc = proto.rpc.unwrap_or_default();
        Ok(Self {
            path: Some(PathMatch::Rpc {
                service: rpc.service,
                method: rpc.method,
            }),
            headers: headers(proto.headers)?,
            query: Vec::new(),
            method: Some(Method::POST),
            condition: None,
        })
    }
}

fn path(proto: api::PathMatch) -> Result<PathMatch, Invalid> {
    use api::path_match::Kind;
    Ok(match proto.kind.ok_or(Invalid::Missing("path match"))? {
        Kind::Exact(path) => PathMatch::Exact(path),
        Kind::Prefix(path) => PathMatch::Prefix(path),
        Kind::Regex(expression) => PathMatch::Regex(regex(&expression)?),
    })
}

fn headers(protos: Vec<api::HeaderMatch>) -> Result<Vec<(HeaderName, ValueMatch)>, Invalid> {
    use api::header_match::Value;
    let header = |proto: api::HeaderMatch| {
        let value = match proto.value.ok_or(Invalid::Missing("header match"))? {
            Value::Exact(value) => ValueMatch::Exact(value),
            Value::Regex(expression) => ValueMatch::Regex(regex(&expression)?),
        };
        Ok((header_name(&proto.name)?, value))
    };
    protos.into_iter().map(header).collect()
}

fn query(proto: api::QueryParamMatch) -> Result<(String, ValueMatch), Invalid> {
    use api::query_param_match::Value;
    let missing = Invalid::Missing("query parameter match");
    let value = match proto.value.ok_or(missing)? {
        Value::Exact(value) => ValueMatch::Exact(value.into_bytes()),
        Value::Regex(expression) => ValueMatch::Regex(regex(&expression)?),
    };
    Ok((proto.name, value))
}

/// A header's name.
pub(in crate::http) fn header_name(name: &str) -> Result<HeaderName, Invalid> {
    HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| Invalid::Bad("header name", format!("{name:?}")))
}

/// An expression of bounded size.
pub fn regex(expression: &str) -> Result<Regex, Invalid> {
    RegexBuilder::new(expression)
        .size_limit(REGEX_SIZE)
        .build()
        .map_err(|error| Invalid::Bad("regex", error.to_string()))
}
