//! The conditions of a rule, and how specifically a request meets them. Pure.

use http::{HeaderName, Method, Request};
use regex::Regex;

use crate::http::orig_proto;

/// A name to match a host or SNI with, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostMatch {
    /// The whole name.
    Exact(String),
    /// Everything below `.suffix`; everything, if it is empty.
    Suffix(String),
}

/// What of a request must match; everything given must.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RequestMatch {
    /// The path.
    pub path: Option<PathMatch>,
    /// Headers.
    pub headers: Vec<(HeaderName, ValueMatch)>,
    /// Query parameters.
    pub query: Vec<(String, ValueMatch)>,
    /// The method.
    pub method: Option<Method>,
    /// Anything else: of a ServiceProfile. It adds nothing to how specific the match is.
    pub condition: Option<Condition>,
}

/// A condition made of conditions.
#[derive(Clone, Debug)]
pub enum Condition {
    /// Each must hold.
    All(Vec<Condition>),
    /// One must hold.
    Any(Vec<Condition>),
    /// It must not hold.
    Not(Box<Condition>),
    /// The whole path matches.
    Path(Regex),
    /// The method.
    Method(Method),
}

/// A condition on a path.
#[derive(Clone, Debug)]
pub enum PathMatch {
    /// The whole path.
    Exact(String),
    /// Whole segments from the start.
    Prefix(String),
    /// The whole path matches.
    Regex(Regex),
    /// A gRPC call, `/service/method`; an empty part is any.
    Rpc {
        /// The service.
        service: String,
        /// The method.
        method: String,
    },
}

/// A condition on a header or parameter.
#[derive(Clone, Debug)]
pub enum ValueMatch {
    /// These bytes.
    Exact(Vec<u8>),
    /// The whole value matches.
    Regex(Regex),
}

impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All(a), Self::All(b)) | (Self::Any(a), Self::Any(b)) => a == b,
            (Self::Not(a), Self::Not(b)) => a == b,
            (Self::Path(a), Self::Path(b)) => a.as_str() == b.as_str(),
            (Self::Method(a), Self::Method(b)) => a == b,
            _ => false,
        }
    }
}

impl Condition {
    /// Whether a request meets it.
    pub fn holds<B>(&self, request: &Request<B>) -> bool {
        match self {
            Self::All(all) => all.iter().all(|c| c.holds(request)),
            Self::Any(any) => any.iter().any(|c| c.holds(request)),
            Self::Not(not) => !not.holds(request),
            Self::Path(regex) => whole(regex, request.uri().path()),
            Self::Method(method) => request.method() == method,
        }
    }
}

/// How specific a host is: its kind, then how long it is.
pub(super) type HostPrecedence = (u8, usize);

/// How specific a match is; more wins. Compared field by field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Precedence {
    path: (u8, usize, usize),
    method: bool,
    headers: usize,
    query: usize,
}

impl PartialEq for PathMatch {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(a), Self::Exact(b)) | (Self::Prefix(a), Self::Prefix(b)) => a == b,
            (Self::Regex(a), Self::Regex(b)) => a.as_str() == b.as_str(),
            (
                Self::Rpc { service, method },
                Self::Rpc {
                    service: other_service,
                    method: other_method,
                },
            ) => service == other_service && method == other_method,
            _ => false,
        }
    }
}

impl PartialEq for ValueMatch {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(a), Self::Exact(b)) => a == b,
            (Self::Regex(a), Self::Regex(b)) => a.as_str() == b.as_str(),
            _ => false,
        }
    }
}

/// The host a request is for: its authority, else its `Host`; without port, in lower case.
pub fn host_of<B>(request: &Request<B>) -> Option<String> {
    let normal = |host: &str| host.trim_end_matches('.').to_ascii_lowercase();
    match request.uri().host() {
        Some(host) => Some(normal(host)),
        None => orig_proto::host(request).map(|authority| normal(authority.host())),
    }
}

/// How well `name` fits any of `hosts`; `None` if it does not. An exact name is more specific than
/// the longest suffix.
pub fn best_host(hosts: &[HostMatch], name: Option<&str>) -> Option<HostPrecedence> {
    if hosts.is_empty() {
        return Some((0, 0));
    }
    let name = name?;
    let fit = |host: &HostMatch| match host {
        HostMatch::Exact(exact) => (exact == name).then_some((2, exact.len())),
        HostMatch::Suffix(suffix) => {
            let head = name.strip_suffix(suffix.as_str())?;
            (suffix.is_empty() || head.ends_with('.')).then_some((1, suffix.len()))
        }
    };
    hosts.iter().filter_map(fit).max()
}

/// The most specific of `matches`, and the length of the path's prefix that it names.
pub(super) fn best<B>(
    matches: &[RequestMatch],
    request: &Request<B>,
) -> Option<(Precedence, Option<usize>)> {
    if matches.is_empty() {
        return Some((Precedence::default(), None));
    }
    matches.iter().filter_map(|m| m.matches(request)).max()
}

impl RequestMatch {
    fn matches<B>(&self, request: &Request<B>) -> Option<(Precedence, Option<usize>)> {
        let mut found = Precedence {
            headers: self.headers.len(),
            query: self.query.len(),
            method: self.method.is_some(),
            ..Precedence::default()
        };
        let mut prefix = None;
        if let Some(path) = &self.path {
            found.path = path.matches(request.uri().path())?;
            if let PathMatch::Prefix(named) = path {
                prefix = Some(named.trim_end_matches('/').len());
            }
        }
        if self.method.as_ref().is_some_and(|m| m != request.method()) {
            return None;
        }
        if self.condition.as_ref().is_some_and(|c| !c.holds(request)) {
            return None;
        }
        let headers = request.headers();
        let has = |(name, value): &(HeaderName, ValueMatch)| {
            let mut values = headers.get_all(name).iter();
            values.any(|found| value.matches(found.as_bytes()))
        };
        if !self.headers.iter().all(has) {
            return None;
        }
        let query = request.uri().query().unwrap_or_default();
        let asks = |(name, value): &(String, ValueMatch)| {
            // The first of several, as servers commonly read them.
            parameter(query, name).is_some_and(|found| value.matches(&found))
        };
        self.query.iter().all(asks).then_some((found, prefix))
    }
}

impl PathMatch {
    fn matches(&self, path: &str) -> Option<(u8, usize, usize)> {
        match self {
            Self::Exact(exact) => (exact == path).then_some((3, exact.len(), 0)),
            Self::Regex(regex) => whole(regex, path).then_some((2, regex.as_str().len(), 0)),
            Self::Prefix(prefix) => {
                // `/a` is a prefix of `/a` and `/a/b`, not of `/ab`.
                let prefix = prefix.trim_end_matches('/');
                let rest = path.strip_prefix(prefix)?;
                (rest.is_empty() || rest.starts_with('/')).then_some((1, prefix.len(), 0))
            }
            Self::Rpc { service, method } => {
                let (found_service, found_method) = path.strip_prefix('/')?.split_once('/')?;
                let is = |wanted: &str, found: &str| wanted.is_empty() || wanted == found;
                (is(service, found_service) && is(method, found_method)).then_some((
                    1,
                    service.len(),
                    method.len(),
                ))
            }
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

/// Whether the expression matches from the first to the last character.
fn whole(regex: &Regex, text: &str) -> bool {
    regex
        .find(text)
        .is_some_and(|found| found.start() == 0 && found.end() == text.len())
}

/// The first value of a query parameter, decoded.
fn parameter(query: &str, name: &str) -> Option<Vec<u8>> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(key) == name.as_bytes()).then(|| decoded(value))
    })
}

/// `%41+b` is `A b`; broken escapes are themselves.
pub(super) fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some((&byte, rest)) = bytes.split_first() {
        bytes = rest;
        let hex = rest.get(..2).filter(|_| byte == b'%');
        let escaped = hex
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (escaped, byte) {
            (Some(escaped), _) => {
                out.push(escaped);
                bytes = &rest[2..];
            }
            (None, b'+') => out.push(b' '),
            (None, byte) => out.push(byte),
        }
    }
    out
}
