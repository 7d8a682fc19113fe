//! Header rules that hold for every hop, in both directions.

use http::{HeaderMap, HeaderName, Method, Request, Version, header};

/// What the names of headers between proxies begin with.
const OURS: [&str; 2] = ["l5d-", "mesh-"];

/// Whether any header is one of those that proxies exchange. Few messages have any: one look at all
/// names costs less than looking for each of them.
pub fn has_ours(headers: &HeaderMap) -> bool {
    let is_ours = |name: &HeaderName| OURS.iter().any(|prefix| name.as_str().starts_with(prefix));
    headers.keys().any(is_ours)
}

/// Drops what `Connection` names and the hop-by-hop headers themselves.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    // Most messages have none.
    if !headers.keys().any(is_hop_by_hop) {
        return;
    }
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|name| name.trim().parse().ok())
            .collect();
        for name in named {
            headers.remove(name);
        }
        headers.remove(header::CONNECTION);
    }
    headers.remove(header::UPGRADE);
    headers.remove(PROXY_CONNECTION);
    headers.remove(KEEP_ALIVE);
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    [header::CONNECTION, header::UPGRADE].contains(name)
        || [PROXY_CONNECTION, KEEP_ALIVE].contains(&name.as_str())
}

const PROXY_CONNECTION: &str = "proxy-connection";
const KEEP_ALIVE: &str = "keep-alive";

/// Whether the request is gRPC: HTTP/2 with a gRPC content type.
pub fn is_grpc<B>(request: &Request<B>) -> bool {
    request.version() == Version::HTTP_2 && has_grpc_type(request.headers())
}

/// Whether repeating the method changes nothing (RFC 9110 §9.2.2).
pub fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}

/// Whether the response is gRPC, by its content type.
pub fn is_grpc_response(headers: &HeaderMap) -> bool {
    has_grpc_type(headers)
}

/// The `grpc-status` in headers or trailers.
pub fn grpc_status(headers: &HeaderMap) -> Option<u16> {
    headers.get(GRPC_STATUS)?.to_str().ok()?.parse().ok()
}

fn has_grpc_type(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// gRPC codes that are the server's fault: UNKNOWN, DEADLINE_EXCEEDED, PERMISSION_DENIED, INTERNAL,
/// UNAVAILABLE, DATA_LOSS.
pub const GRPC_FAILURES: [u16; 6] = [2, 4, 7, 13, 14, 15];
/// The status of a gRPC call.
pub const GRPC_STATUS: &str = "grpc-status";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_connection_names_goes_with_it() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "keep-alive, X-One"),
            ("connection", "x-two"),
            ("keep-alive", "1"),
            ("proxy-connection", "keep-alive"),
            ("upgrade", "h2c"),
            ("x-one", "1"),
            ("x-two", "2"),
            ("x-three", "3"),
            ("te", "trailers"),
        ] {
            headers.append(name, value.parse().unwrap());
        }
        strip_hop_by_hop(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["te", "x-three"]);
    }

    #[test]
    fn each_hop_by_hop_header_goes_by_itself() {
        for name in ["connection", "keep-alive", "proxy-connection", "upgrade"] {
            let mut headers =
                HeaderMap::from_iter([(HeaderName::from_static(name), "close".parse().unwrap())]);
            strip_hop_by_hop(&mut headers);
            assert!(headers.is_empty(), "{name}");
        }
    }

    #[test]
    fn whatever_proxies_exchange_is_ours() {
        use mesh_contract::headers as names;
        for name in [
            names::ORIG_PROTO,
            names::CLIENT_ID,
            names::REQUIRE_ID,
            names::PROXY_ERROR,
            names::PROXY_CONNECTION,
            names::UNPROCESSED,
            names::RETRY_HTTP,
            names::TIMEOUT,
        ] {
            let one = |name| (HeaderName::from_static(name), "x".parse().unwrap());
            assert!(has_ours(&HeaderMap::from_iter([one("host"), one(name)])));
        }
        let theirs = (header::HOST, "l5d-a".parse().unwrap());
        assert!(!has_ours(&HeaderMap::from_iter([theirs])));
    }

    #[test]
    fn grpc_is_http2_with_its_content_type() {
        let request = |version, content_type: &str| {
            Request::builder()
                .version(version)
                .header("content-type", content_type)
                .body(())
                .unwrap()
        };
        assert!(is_grpc(&request(Version::HTTP_2, "application/grpc+proto")));
        assert!(!is_grpc(&request(Version::HTTP_11, "application/grpc")));
        assert!(!is_grpc(&request(Version::HTTP_2, "application/json")));
    }
}
