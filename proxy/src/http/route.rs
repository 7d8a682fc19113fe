//! Which route a request takes: hosts, then matches, most specific first.
//!
//! Shared by inbound and outbound policies. What a route then does (authorise, balance, retry) is
//! theirs: the value behind a rule is a type parameter here.

use http::{HeaderName, Method, Request, header};
use linkerd2_proxy_api::{grpc_route as grpc_api, http_route as api};
use regex::Regex;

/// Why a route in a policy cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidRoute {
    /// A required part is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A regular expression does not compile.
    #[error("regular expression {0:?} is not valid")]
    Regex(String),
    /// A name or value is not what HTTP allows.
    #[error("{0:?} is not a valid {1}")]
    Value(String, &'static str),
}

/// A route: hosts, and rules that are tried for them.
#[derive(Debug)]
pub struct Route<M, T> {
    /// Hosts it is for; none means any.
    pub hosts: Vec<HostMatch>,
    /// What it does.
    pub rules: Vec<Rule<M, T>>,
}

/// One rule of a route.
#[derive(Debug)]
pub struct Rule<M, T> {
    /// Any of these must match; none means any request.
    pub matches: Vec<M>,
    /// What follows.
    pub then: T,
}

/// A host, without port, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostMatch {
    /// `web.example.com`
    Exact(String),
    /// `*.example.com`, labels from the right.
    Suffix(Vec<String>),
}

/// What of an HTTP request must match; everything given must.
#[derive(Debug, Default)]
pub struct HttpMatch {
    path: Option<PathMatch>,
    headers: Vec<(HeaderName, ValueMatch)>,
    query: Vec<(String, ValueMatch)>,
    method: Option<Method>,
}

/// What of a gRPC request must match.
#[derive(Debug, Default)]
pub struct GrpcMatch {
    service: String,
    method: String,
    headers: Vec<(HeaderName, ValueMatch)>,
}

#[derive(Debug)]
enum PathMatch {
    Exact(String),
    Prefix(String),
    Regex(Regex),
}

#[derive(Debug)]
enum ValueMatch {
    Exact(Vec<u8>),
    Regex(Regex),
}

/// How specific a match is; greater is better. Gateway API's order.
pub type Precedence = [usize; 6];

/// Something requests are matched with.
pub trait Match {
    /// How specifically it matches the request; `None` if it does not.
    fn matches<B>(&self, request: &Request<B>) -> Option<Precedence>;
}

/// The rule for a request and its index (route, rule): the most specific host wins, then the most
/// specific match, then the first.
pub fn find<'r, M: Match, T, B>(
    routes: &'r [Route<M, T>],
    request: &Request<B>,
) -> Option<((usize, usize), &'r T)> {
    let host = host(request);
    let mut best: Option<Best<'r, T>> = None;
    for (i, route) in routes.iter().enumerate() {
        let Some(host) = host_precedence(&route.hosts, host.as_deref()) else {
            continue;
        };
        for (j, rule) in route.rules.iter().enumerate() {
            let matched = match rule.matches.is_empty() {
                true => Some(Precedence::default()),
                false => rule.matches.iter().filter_map(|m| m.matches(request)).max(),
            };
            let Some(precedence) = matched.map(|m| (host, m)) else {
                continue;
            };
            if best
                .as_ref()
                .is_none_or(|best| precedence > best.precedence)
            {
                best = Some(Best {
                    precedence,
                    index: (i, j),
                    then: &rule.then,
                });
            }
        }
    }
    best.map(|best| (best.index, best.then))
}

/// The best rule so far.
struct Best<'r, T> {
    precedence: (HostPrecedence, Precedence),
    index: (usize, usize),
    then: &'r T,
}

/// Exact or not, and how long.
type HostPrecedence = (bool, usize);

/// The host a request is for: its authority, else its `Host`; without port, in lower case.
pub fn host<B>(request: &Request<B>) -> Option<String> {
    let host = match request.uri().host() {
        Some(host) => host.to_owned(),
        None => {
            let text = request.headers().get(header::HOST)?.to_str().ok()?;
            let authority: http::uri::Authority = text.parse().ok()?;
            authority.host().to_owned()
        }
    };
    Some(host.trim_end_matches('.').to_ascii_lowercase())
}

/// `None` if no host matches; an exact host is more specific than the longest suffix.
fn host_precedence(hosts: &[HostMatch], host: Option<&str>) -> Option<HostPrecedence> {
    if hosts.is_empty() {
        return Some((false, 0));
    }
    let host = host?;
    hosts
        .iter()
        .filter_map(|candidate| match candidate {
            HostMatch::Exact(name) => (name == host).then_some((true, name.len())),
            HostMatch::Suffix(labels) => {
                let mut own = host.rsplit('.');
                let below = labels.iter().all(|label| own.next() == Some(label));
                // `*` stands for at least one label.
                (below && own.next().is_some()).then_some((false, labels.len()))
            }
        })
        .max()
}

impl HostMatch {
    /// From a policy.
    pub fn from_proto(host: api::HostMatch) -> Result<Self, InvalidRoute> {
        use api::host_match::Match as Kind;
        match host.r#match.ok_or(InvalidRoute::Missing("host match"))? {
            Kind::Exact(name) => Ok(Self::Exact(name.to_ascii_lowercase())),
            Kind::Suffix(suffix) => Ok(Self::Suffix(
                suffix
                    .reverse_labels
                    .iter()
                    .map(|label| label.to_ascii_lowercase())
                    .collect(),
            )),
        }
    }
}

impl HttpMatch {
    /// From a policy.
    pub fn from_proto(proto: api::HttpRouteMatch) -> Result<Self, InvalidRoute> {
        let method = proto
            .method
            .map(|method| {
                Method::try_from(method)
                    .map_err(|error| InvalidRoute::Value(error.to_string(), "method"))
            })
            .transpose()?;
        Ok(Self {
            path: proto.path.map(path).transpose()?,
            headers: headers(proto.headers)?,
            query: proto
                .query_params
                .into_iter()
                .map(query)
                .collect::<Result<_, _>>()?,
            method,
        })
    }
}

impl Match for HttpMatch {
    fn matches<B>(&self, request: &Request<B>) -> Option<Precedence> {
        let (exact, prefix, regex) = match &self.path {
            None => (0, 0, 0),
            Some(path) => path.matches(request.uri().path())?,
        };
        if let Some(method) = &self.method
            && method != request.method()
        {
            return None;
        }
        if !headers_match(&self.headers, request) {
            return None;
        }
        let query = request.uri().query().unwrap_or_default();
        if !self.query.iter().all(|(name, value)| {
            query.split('&').any(|pair| {
                let (key, found) = pair.split_once('=').unwrap_or((pair, ""));
                decoded(key) == name.as_bytes() && value.matches(&decoded(found))
            })
        }) {
            return None;
        }
        let method = usize::from(self.method.is_some());
        Some([
            exact,
            prefix,
            regex,
            method,
            self.headers.len(),
            self.query.len(),
        ])
    }
}

impl GrpcMatch {
    /// From a policy.
    pub fn from_proto(proto: grpc_api::GrpcRouteMatch) -> Result<Self, InvalidRoute> {
        let rpc = proto.rpc.unwrap_or_default();
        Ok(Self {
            service: rpc.service,
            method: rpc.method,
            headers: headers(proto.headers)?,
        })
    }
}

impl Match for GrpcMatch {
    fn matches<B>(&self, request: &Request<B>) -> Option<Precedence> {
        let (service, method) = request
            .uri()
            .path()
            .strip_prefix('/')
            .and_then(|path| path.split_once('/'))?;
        let given = |wanted: &str, found: &str| wanted.is_empty() || wanted == found;
        let matches = request.method() == Method::POST
            && given(&self.service, service)
            && given(&self.method, method)
            && headers_match(&self.headers, request);
        matches.then_some([
            self.service.len(),
            self.method.len(),
            0,
            0,
            self.headers.len(),
            0,
        ])
    }
}

impl PathMatch {
    fn matches(&self, path: &str) -> Option<(usize, usize, usize)> {
        match self {
            Self::Exact(exact) => (exact == path).then_some((exact.len(), 0, 0)),
            Self::Prefix(prefix) => {
                // `/a` is a prefix of `/a` and `/a/b`, not of `/ab`.
                let trimmed = prefix.strip_suffix('/').unwrap_or(prefix);
                let rest = path.strip_prefix(trimmed)?;
                (rest.is_empty() || rest.starts_with('/')).then_some((0, prefix.len(), 0))
            }
            Self::Regex(regex) => whole(regex, path).then_some((0, 0, regex.as_str().len())),
        }
    }
}

impl ValueMatch {
    fn matches(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => exact == value,
            Self::Regex(regex) => std::str::from_utf8(value).is_ok_and(|text| whole(regex, text)),
        }
    }
}

fn headers_match<B>(wanted: &[(HeaderName, ValueMatch)], request: &Request<B>) -> bool {
    wanted.iter().all(|(name, value)| {
        request
            .headers()
            .get_all(name)
            .iter()
            .any(|found| value.matches(found.as_bytes()))
    })
}

fn path(proto: api::PathMatch) -> Result<PathMatch, InvalidRoute> {
    use api::path_match::Kind;
    Ok(
        match proto.kind.ok_or(InvalidRoute::Missing("path match"))? {
            Kind::Exact(path) => PathMatch::Exact(path),
            Kind::Prefix(path) => PathMatch::Prefix(path),
            Kind::Regex(regex) => PathMatch::Regex(compile(regex)?),
        },
    )
}

fn headers(protos: Vec<api::HeaderMatch>) -> Result<Vec<(HeaderName, ValueMatch)>, InvalidRoute> {
    use api::header_match::Value;
    protos
        .into_iter()
        .map(|proto| {
            let name = proto
                .name
                .parse()
                .map_err(|_| InvalidRoute::Value(proto.name, "header name"))?;
            let value = match proto.value.ok_or(InvalidRoute::Missing("header value"))? {
                Value::Exact(value) => ValueMatch::Exact(value),
                Value::Regex(regex) => ValueMatch::Regex(compile(regex)?),
            };
            Ok((name, value))
        })
        .collect()
}

fn query(proto: api::QueryParamMatch) -> Result<(String, ValueMatch), InvalidRoute> {
    use api::query_param_match::Value;
    let value = match proto.value.ok_or(InvalidRoute::Missing("query value"))? {
        Value::Exact(value) => ValueMatch::Exact(value.into_bytes()),
        Value::Regex(regex) => ValueMatch::Regex(compile(regex)?),
    };
    Ok((proto.name, value))
}

fn compile(regex: String) -> Result<Regex, InvalidRoute> {
    Regex::new(&regex).map_err(|_| InvalidRoute::Regex(regex))
}

/// Whether the expression matches from the first to the last character.
fn whole(regex: &Regex, text: &str) -> bool {
    regex
        .find(text)
        .is_some_and(|found| found.start() == 0 && found.end() == text.len())
}

/// `%41+b` is `A b`.
fn decoded(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut i = 0;
    while let Some(&byte) = bytes.get(i) {
        let escaped = (byte == b'%')
            .then(|| text.get(i + 1..i + 3))
            .flatten()
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match escaped {
            Some(byte) => {
                out.push(byte);
                i += 3;
            }
            None => {
                out.push(if byte == b'+' { b' ' } else { byte });
                i += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests;
