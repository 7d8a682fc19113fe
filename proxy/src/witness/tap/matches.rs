//! Which requests a tap sees. Pure.

use std::net::{IpAddr, SocketAddr};

use http::Request;
use ipnet::IpNet;
use linkerd2_proxy_api::{
    http_types,
    tap::observe_request::{self as api, r#match as kind},
};

use super::super::Subject;

/// A condition.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Match {
    All(Vec<Match>),
    Any(Vec<Match>),
    Not(Box<Match>),
    Source(Tcp),
    Destination(Tcp),
    /// A label of the destination.
    Label(String, String),
    /// Routes have no labels here, so no request has one.
    Never,
    Method(http::Method),
    Scheme(String),
    Authority(Text),
    Path(Text),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Tcp {
    Net(IpNet),
    Ports(u16, u16),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Text {
    Exact(String),
    Prefix(String),
}

/// As deep as conditions may be nested.
const DEEPEST: usize = 16;

impl Match {
    /// From the wire. The error says what is wrong.
    pub(super) fn new(proto: api::Match) -> Result<Self, String> {
        Self::nested(proto, 0)
    }

    fn nested(proto: api::Match, depth: usize) -> Result<Self, String> {
        use kind::Match as Kind;
        if depth > DEEPEST {
            return Err("a match that is nested too deeply".to_owned());
        }
        let each = |seq: kind::Seq| -> Result<Vec<Self>, String> {
            let matches = seq.matches.into_iter();
            matches.map(|m| Self::nested(m, depth + 1)).collect()
        };
        Ok(match proto.r#match.ok_or("a match of nothing")? {
            Kind::All(seq) => Self::All(each(seq)?),
            Kind::Any(seq) => Self::Any(each(seq)?),
            Kind::Not(not) => Self::Not(Box::new(Self::nested(*not, depth + 1)?)),
            Kind::Source(tcp) => Self::Source(Tcp::new(tcp)?),
            Kind::Destination(tcp) => Self::Destination(Tcp::new(tcp)?),
            Kind::DestinationLabel(label) => Self::Label(label.key, label.value),
            Kind::RouteLabel(_) => Self::Never,
            Kind::Http(http) => Self::http(http)?,
        })
    }

    fn http(proto: kind::Http) -> Result<Self, String> {
        use kind::http::Match as Kind;
        Ok(match proto.r#match.ok_or("an HTTP match of nothing")? {
            Kind::Method(method) => {
                let method = http::Method::try_from(method);
                Self::Method(method.map_err(|_| "a method that is none")?)
            }
            Kind::Scheme(scheme) => Self::Scheme(match scheme.r#type.ok_or("no scheme")? {
                http_types::scheme::Type::Registered(1) => "https".to_owned(),
                http_types::scheme::Type::Registered(_) => "http".to_owned(),
                http_types::scheme::Type::Unregistered(name) => name,
            }),
            Kind::Authority(text) => Self::Authority(Text::new(text)?),
            Kind::Path(text) => Self::Path(Text::new(text)?),
        })
    }

    /// Whether a request is one of those.
    pub(super) fn is<B>(&self, subject: Subject<'_>, request: &Request<B>) -> bool {
        let uri = request.uri();
        match self {
            Self::All(matches) => matches.iter().all(|m| m.is(subject, request)),
            Self::Any(matches) => matches.iter().any(|m| m.is(subject, request)),
            Self::Not(not) => !not.is(subject, request),
            Self::Source(tcp) => tcp.is(subject.client),
            Self::Destination(tcp) => tcp.is(subject.server),
            Self::Label(key, value) => {
                let mut labels = subject.labels.iter();
                labels.any(|(k, v)| k == key && v == value)
            }
            Self::Never => false,
            Self::Method(method) => request.method() == method,
            Self::Scheme(scheme) => uri.scheme_str().unwrap_or("http") == scheme,
            Self::Authority(text) => text.is(authority(request)),
            Self::Path(text) => text.is(uri.path()),
        }
    }
}

/// Whom a request is for, by its target or its `Host`.
pub(super) fn authority<B>(request: &Request<B>) -> &str {
    let host = || request.headers().get(http::header::HOST)?.to_str().ok();
    let authority = request
        .uri()
        .authority()
        .map(|authority| authority.as_str());
    authority.or_else(host).unwrap_or_default()
}

impl Tcp {
    fn new(proto: kind::Tcp) -> Result<Self, String> {
        use kind::tcp::Match as Kind;
        match proto.r#match.ok_or("an address match of nothing")? {
            Kind::Netmask(mask) => {
                let ip = mask.ip.ok_or("a network without an address")?;
                let ip = IpAddr::try_from(ip).map_err(|error| error.to_string())?;
                let bits = u8::try_from(mask.mask).unwrap_or(u8::MAX);
                let net = IpNet::new(ip, bits).map_err(|error| error.to_string())?;
                Ok(Self::Net(net))
            }
            Kind::Ports(range) => {
                let port = |port: u32| u16::try_from(port).map_err(|_| "no port".to_owned());
                let (min, max) = (port(range.min)?, port(range.max)?);
                // Not said: as far as it goes.
                let max = if max == 0 { u16::MAX } else { max };
                match min <= max {
                    true => Ok(Self::Ports(min, max)),
                    false => Err("ports that end before they begin".to_owned()),
                }
            }
        }
    }

    fn is(&self, addr: SocketAddr) -> bool {
        match self {
            Self::Net(net) => net.contains(&addr.ip()),
            Self::Ports(min, max) => (*min..=*max).contains(&addr.port()),
        }
    }
}

impl Text {
    fn new(proto: kind::http::StringMatch) -> Result<Self, String> {
        use kind::http::string_match::Match as Kind;
        Ok(match proto.r#match.ok_or("a text match of nothing")? {
            Kind::Exact(text) => Self::Exact(text),
            Kind::Prefix(text) => Self::Prefix(text),
        })
    }

    fn is(&self, text: &str) -> bool {
        match self {
            Self::Exact(exact) => text == exact,
            Self::Prefix(prefix) => text.starts_with(prefix.as_str()),
        }
    }
}
