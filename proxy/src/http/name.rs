//! The names requests are for, as metrics may call them.

use std::net::Ipv4Addr;

use http::Request;
use mesh_contract::headers::DST_CANONICAL;

use super::orig_proto;

/// A name and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Name {
    /// In lower case, without a dot at its end.
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// The longest name of DNS.
const MAX: usize = 253;
/// Of requests that say none.
const HTTP: u16 = 80;

impl Name {
    /// What the client's proxy found the request to be for, else its authority, else its `Host`.
    pub(crate) fn of<B>(request: &Request<B>) -> Option<Self> {
        let canonical = request.headers().get(DST_CANONICAL);
        let canonical = canonical.and_then(|value| value.to_str().ok()?.parse().ok());
        let authority = canonical
            .or_else(|| request.uri().authority().cloned())
            .or_else(|| orig_proto::host(request))?;
        Some(Self {
            host: dns_name(authority.host())?,
            port: authority.port_u16().unwrap_or(HTTP),
        })
    }

    /// As an authority, which does not say HTTP's own port.
    pub(crate) fn authority(&self) -> String {
        match self.port {
            HTTP => self.host.clone(),
            port => format!("{}:{port}", self.host),
        }
    }
}

/// `host` in lower case and without a dot at its end, if it is a name and no address.
pub(crate) fn dns_name(host: &str) -> Option<String> {
    let host = host.strip_suffix('.').unwrap_or(host);
    let label = |label: &str| {
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        (1..=63).contains(&label.len()) && label.bytes().all(fits)
    };
    let is_name = host.len() <= MAX && host.split('.').all(label);
    (is_name && host.parse::<Ipv4Addr>().is_err()).then(|| host.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(uri: &str, headers: &[(&str, &str)]) -> Option<String> {
        let mut request = Request::get(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let name = Name::of(&request.body(()).unwrap())?;
        Some(name.authority())
    }

    #[test]
    fn a_request_is_for_what_a_proxy_found_then_for_its_authority_then_for_its_host() {
        let host = ("host", "Web.Default.:8080");
        let found = ("l5d-dst-canonical", "web.default.svc.cluster.local:81");
        assert_eq!(name("/", &[host]).unwrap(), "web.default:8080");
        assert_eq!(name("http://api:90/", &[host]).unwrap(), "api:90");
        assert_eq!(
            name("http://api/", &[host, found]).unwrap(),
            "web.default.svc.cluster.local:81"
        );
        assert_eq!(name("http://api/", &[]).unwrap(), "api");
        assert_eq!(name("http://api:80/", &[]).unwrap(), "api");
    }

    #[test]
    fn an_address_is_no_name_and_neither_is_nonsense() {
        let long = "a.".repeat(128);
        for host in ["10.0.0.1", "10.0.0.1:80", "[::1]:80", "a..b", "a b", &long] {
            assert_eq!(name("/", &[("host", host)]), None, "{host}");
        }
        assert_eq!(name("/", &[]), None);
        assert_eq!(dns_name(""), None);
        assert_eq!(dns_name(&"a".repeat(64)), None);
        assert_eq!(dns_name("_http.web").as_deref(), Some("_http.web"));
    }
}
