//! HTTP/1 carried over HTTP/2 between proxies: the client side upgrades, the server side
//! restores. The header that says so never reaches an application.

use std::net::SocketAddr;

use http::{
    HeaderValue, Request, Response, Uri, Version, header,
    uri::{Authority, PathAndQuery, Scheme},
};
use mesh_contract::headers::ORIG_PROTO;

/// What a side must remember until the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upgraded {
    /// The version the application speaks.
    pub version: Version,
}

/// In a request's extensions: its target was absolute (`GET http://host/path`).
#[derive(Clone, Copy, Debug)]
pub struct AbsoluteForm;

/// Client side: whether a request may travel over HTTP/2: it is HTTP/1, stays HTTP, and says whom
/// it is for.
pub fn can_upgrade<B>(request: &Request<B>) -> bool {
    request.version() <= Version::HTTP_11
        && !super::upgrade::is_upgrade(request)
        && (request.uri().authority().is_some() || host(request).is_some())
}

/// Client side: makes an HTTP/1 request (see [`can_upgrade`]) an HTTP/2 one, noting its version.
pub fn upgrade_request<B>(request: &mut Request<B>) -> Upgraded {
    let version = request.version();
    let absolute = request.uri().authority().is_some();
    let value = match (version, absolute) {
        (Version::HTTP_10, false) => "HTTP/1.0",
        (Version::HTTP_10, true) => "HTTP/1.0; absolute-form",
        (_, false) => "HTTP/1.1",
        (_, true) => "HTTP/1.1; absolute-form",
    };
    if !absolute && let Some(authority) = host(request) {
        set_authority(request, authority);
        // The pseudo header carries it from here on.
        request.headers_mut().remove(header::HOST);
    }
    let headers = request.headers_mut();
    headers.insert(ORIG_PROTO, HeaderValue::from_static(value));
    headers.remove(header::TRANSFER_ENCODING);
    *request.version_mut() = Version::HTTP_2;
    Upgraded { version }
}

/// Client side: gives the response the version its application expects.
pub fn restore_response<B>(upgraded: Upgraded, response: &mut Response<B>) {
    let noted = response
        .headers_mut()
        .remove(ORIG_PROTO)
        .and_then(|value| version_of(&value));
    *response.version_mut() = noted.unwrap_or(upgraded.version);
}

/// Server side: gives the request its original version back, if it carries one.
///
/// The header is removed whatever it says; a request whose header makes no sense stays HTTP/2.
pub fn downgrade_request<B>(request: &mut Request<B>) -> Option<Upgraded> {
    let value = request.headers_mut().remove(ORIG_PROTO)?;
    if request.version() != Version::HTTP_2 {
        return None;
    }
    let version = version_of(&value)?;
    let absolute = value
        .as_bytes()
        .split(|b| *b == b';')
        .any(|part| part.trim_ascii() == b"absolute-form");
    if absolute {
        request.extensions_mut().insert(AbsoluteForm);
    }
    *request.version_mut() = version;
    origin_form(request, absolute);
    Some(Upgraded { version })
}

/// Server side: notes the application's version on the response and makes it HTTP/2 again.
pub fn upgrade_response<B>(upgraded: Upgraded, response: &mut Response<B>) {
    let value = match response.version() {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_11 => "HTTP/1.1",
        _ if upgraded.version == Version::HTTP_10 => "HTTP/1.0",
        _ => "HTTP/1.1",
    };
    let headers = response.headers_mut();
    headers.insert(ORIG_PROTO, HeaderValue::from_static(value));
    headers.remove(header::TRANSFER_ENCODING);
    *response.version_mut() = Version::HTTP_2;
}

/// Moves the authority into `Host` (unless there is one) and, unless the target was absolute,
/// leaves only path and query in the URI.
pub fn origin_form<B>(request: &mut Request<B>, absolute: bool) {
    if let Some(authority) = request.uri().authority()
        && !request.headers().contains_key(header::HOST)
        && let Ok(value) = HeaderValue::from_str(without_userinfo(authority))
    {
        request.headers_mut().insert(header::HOST, value);
    }
    if !absolute {
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    }
}

/// Gives the URI an authority, making it absolute.
pub fn set_authority<B>(request: &mut Request<B>, authority: Authority) {
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.authority = Some(authority);
    parts.scheme.get_or_insert(Scheme::HTTP);
    parts
        .path_and_query
        .get_or_insert(PathAndQuery::from_static("/"));
    // With all three there, this cannot fail.
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
}

/// Gives an HTTP/2 request that names nobody its `Host` or, failing that, the address it is sent to
/// as authority: the protocol allows to do without, the library we send with does not.
pub fn name<B>(request: &mut Request<B>, addr: SocketAddr) {
    if request.uri().authority().is_none()
        && let Some(authority) =
            host(request).or_else(|| Authority::try_from(addr.to_string()).ok())
    {
        set_authority(request, authority);
    }
}

/// The `Host` header as an authority.
pub fn host<B>(request: &Request<B>) -> Option<Authority> {
    let value = request.headers().get(header::HOST)?;
    Authority::try_from(value.as_bytes()).ok()
}

fn version_of(value: &HeaderValue) -> Option<Version> {
    match value.as_bytes().split(|b| *b == b';').next()?.trim_ascii() {
        b"HTTP/1.1" => Some(Version::HTTP_11),
        b"HTTP/1.0" => Some(Version::HTTP_10),
        _ => None,
    }
}

fn without_userinfo(authority: &Authority) -> &str {
    let text = authority.as_str();
    text.rsplit_once('@').map_or(text, |(_, host)| host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(version: Version, uri: &str) -> Request<()> {
        Request::builder()
            .version(version)
            .uri(uri)
            .header("host", "web.default:8080")
            .header("transfer-encoding", "chunked")
            .body(())
            .unwrap()
    }

    #[test]
    fn an_origin_form_request_survives_the_trip() {
        let mut req = request(Version::HTTP_11, "/a?b=c");
        assert!(can_upgrade(&req));
        let upgraded = upgrade_request(&mut req);
        assert_eq!(req.version(), Version::HTTP_2);
        assert_eq!(req.uri(), "http://web.default:8080/a?b=c");
        assert_eq!(req.headers()[ORIG_PROTO], "HTTP/1.1");
        assert!(!req.headers().contains_key("transfer-encoding"));

        let downgraded = downgrade_request(&mut req).unwrap();
        assert_eq!(downgraded, upgraded);
        assert_eq!(req.version(), Version::HTTP_11);
        assert_eq!(req.uri(), "/a?b=c");
        assert_eq!(req.headers()["host"], "web.default:8080");
        assert!(!req.headers().contains_key(ORIG_PROTO));
    }

    #[test]
    fn an_absolute_target_and_another_host_survive_the_trip() {
        let mut req = request(Version::HTTP_10, "http://other/x");
        upgrade_request(&mut req);
        assert_eq!(req.headers()[ORIG_PROTO], "HTTP/1.0; absolute-form");
        downgrade_request(&mut req).unwrap();
        assert_eq!(req.version(), Version::HTTP_10);
        assert_eq!(req.uri(), "http://other/x");
        assert_eq!(req.headers()["host"], "web.default:8080");
    }

    #[test]
    fn the_response_says_what_the_application_spoke() {
        let upgraded = Upgraded {
            version: Version::HTTP_11,
        };
        let mut response = Response::builder()
            .version(Version::HTTP_10)
            .header("transfer-encoding", "chunked")
            .body(())
            .unwrap();
        upgrade_response(upgraded, &mut response);
        assert_eq!(response.version(), Version::HTTP_2);
        assert!(!response.headers().contains_key("transfer-encoding"));
        restore_response(upgraded, &mut response);
        assert_eq!(response.version(), Version::HTTP_10);
        assert!(!response.headers().contains_key(ORIG_PROTO));
    }

    #[test]
    fn nonsense_is_removed_and_changes_nothing() {
        let mut req = request(Version::HTTP_2, "http://web/");
        req.headers_mut()
            .insert(ORIG_PROTO, "HTTP/3".parse().unwrap());
        assert_eq!(downgrade_request(&mut req), None);
        assert_eq!(req.version(), Version::HTTP_2);
        assert!(!req.headers().contains_key(ORIG_PROTO));

        // An HTTP/1 client cannot make believe either.
        let mut req = request(Version::HTTP_11, "/");
        req.headers_mut()
            .insert(ORIG_PROTO, "HTTP/1.0".parse().unwrap());
        assert_eq!(downgrade_request(&mut req), None);
        assert_eq!(req.version(), Version::HTTP_11);
        assert!(!req.headers().contains_key(ORIG_PROTO));
    }

    #[test]
    fn upgrades_and_requests_for_nobody_stay_http1() {
        let connect = Request::builder()
            .method("CONNECT")
            .uri("web:80")
            .body(())
            .unwrap();
        assert!(!can_upgrade(&connect));
        let nobody = Request::builder().uri("/").body(()).unwrap();
        assert!(!can_upgrade(&nobody));
    }
}
