//! Choosing the rule of a request, by the precedence of the Gateway API: the most specific host,
//! then path, method, headers and query; the first received among equals.

use http::{Method, Request};

use super::{HostMatch, HttpPolicy, HttpRule, PathMatch, RequestMatch, ValueMatch};

/// How specific a match is; more wins. Compared field by field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Specificity {
    host: (u8, usize),
    path: (u8, usize),
    method: bool,
    headers: usize,
    query: usize,
}

/// A chosen rule, and the length of the path prefix that matched (for redirects).
#[derive(Debug)]
pub struct Chosen<'a, B> {
    /// What to do.
    pub rule: &'a HttpRule<B>,
    /// Bytes of the path.
    pub prefix: usize,
}

impl<B> HttpPolicy<B> {
    /// The rule for `request`, if any matches.
    pub fn choose<T>(&self, request: &Request<T>) -> Option<Chosen<'_, B>> {
        // Nearly every target has one route with one rule for everything.
        if let [route] = self.routes.as_slice()
            && let [rule] = route.rules.as_slice()
            && route.hosts.is_empty()
            && rule.matches.is_empty()
        {
            return Some(Chosen { rule, prefix: 0 });
        }
        let host = host_of(request);
        let mut best: Option<(Specificity, Chosen<'_, B>)> = None;
        for route in &self.routes {
            let Some(host) = best_host(&route.hosts, host.as_deref()) else {
                continue;
            };
            for rule in &route.rules {
                let Some((mut found, prefix)) = best_match(&rule.matches, request) else {
                    continue;
                };
                found.host = host;
                if best.as_ref().is_none_or(|(have, _)| found > *have) {
                    best = Some((found, Chosen { rule, prefix }));
                }
            }
        }
        best.map(|(_, chosen)| chosen)
    }
}

/// The host a request asks for, in lower case, without port and trailing dot.
pub fn host_of<T>(request: &Request<T>) -> Option<String> {
    let authority = match request.uri().authority() {
        Some(authority) => authority.host().to_owned(),
        None => {
            let header = request.headers().get(http::header::HOST)?.to_str().ok()?;
            let authority: http::uri::Authority = header.parse().ok()?;
            authority.host().to_owned()
        }
    };
    Some(authority.trim_end_matches('.').to_ascii_lowercase())
}

/// How well `name` fits any of `hosts`; `None` if it does not.
pub fn best_host(hosts: &[HostMatch], name: Option<&str>) -> Option<(u8, usize)> {
    if hosts.is_empty() {
        return Some((0, 0));
    }
    let name = name?;
    hosts
        .iter()
        .filter_map(|host| match host {
            HostMatch::Exact(exact) => (exact == name).then_some((2, exact.len())),
            HostMatch::Suffix(suffix) => name
                .strip_suffix(suffix.as_str())
                .is_some_and(|head| head.ends_with('.'))
                .then_some((1, suffix.len())),
        })
        .max()
}

fn best_match<T>(matches: &[RequestMatch], request: &Request<T>) -> Option<(Specificity, usize)> {
    if matches.is_empty() {
        return Some((Specificity::default(), 0));
    }
    matches.iter().filter_map(|m| one_match(m, request)).max()
}

fn one_match<T>(wanted: &RequestMatch, request: &Request<T>) -> Option<(Specificity, usize)> {
    let mut found = Specificity::default();
    let mut prefix = 0;
    if let Some(path) = &wanted.path {
        found.path = match_path(path, request.uri().path())?;
        if let PathMatch::Prefix(wanted) = path {
            prefix = wanted.trim_end_matches('/').len();
        }
    }
    if let Some(method) = &wanted.method {
        (request.method() == method).then_some(())?;
        found.method = true;
    }
    for (name, value) in &wanted.headers {
        let mut values = request.headers().get_all(name).iter();
        values.any(|v| value.matches(v.as_bytes())).then_some(())?;
    }
    found.headers = wanted.headers.len();
    if !wanted.query.is_empty() {
        let query = request.uri().query().unwrap_or_default();
        for (name, value) in &wanted.query {
            parameter(query, name)
                .is_some_and(|v| value.matches(&v))
                .then_some(())?;
        }
    }
    found.query = wanted.query.len();
    Some((found, prefix))
}

fn match_path(wanted: &PathMatch, path: &str) -> Option<(u8, usize)> {
    match wanted {
        PathMatch::Exact(exact) => (exact == path).then_some((3, exact.len())),
        PathMatch::Regex(regex) => is_full(regex, path).then_some((2, regex.as_str().len())),
        PathMatch::Prefix(prefix) => {
            let prefix = prefix.trim_end_matches('/');
            let rest = path.strip_prefix(prefix)?;
            (rest.is_empty() || rest.starts_with('/')).then_some((1, prefix.len()))
        }
    }
}

impl ValueMatch {
    fn matches(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => exact == value,
            Self::Regex(regex) => std::str::from_utf8(value).is_ok_and(|v| is_full(regex, v)),
        }
    }
}

fn is_full(regex: &regex::Regex, text: &str) -> bool {
    regex
        .find(text)
        .is_some_and(|m| m.start() == 0 && m.end() == text.len())
}

/// The first value of a query parameter, decoded.
fn parameter(query: &str, name: &str) -> Option<Vec<u8>> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(key) == name.as_bytes()).then(|| decode(value))
    })
}

fn decode(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().iter();
    let mut out = Vec::with_capacity(text.len());
    while let Some(&byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let rest = bytes.as_slice();
                match rest.get(..2).and_then(|hex| {
                    let hex = std::str::from_utf8(hex).ok()?;
                    u8::from_str_radix(hex, 16).ok()
                }) {
                    Some(decoded) => {
                        out.push(decoded);
                        bytes.nth(1);
                    }
                    None => out.push(b'%'),
                }
            }
            other => out.push(other),
        }
    }
    out
}

/// Whether repeating the method changes nothing (RFC 9110 §9.2.2).
pub fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}
