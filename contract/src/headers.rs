//! HTTP headers proxies exchange.

/// Carries the original HTTP version of a request upgraded to HTTP/2 between proxies.
pub const ORIG_PROTO: &str = "l5d-orig-proto";
/// Set by the inbound proxy to the verified identity of the client; always stripped from clients.
pub const CLIENT_ID: &str = "l5d-client-id";
/// `name:port` the outbound proxy routed to.
pub const DST_CANONICAL: &str = "l5d-dst-canonical";
/// Asked by an ingress: `name:port` of the Service the request is for, wherever it was sent.
pub const DST_OVERRIDE: &str = "l5d-dst-override";
/// Asked by an application: fail unless the endpoint has this identity.
pub const REQUIRE_ID: &str = "l5d-require-id";
/// The text of an error a proxy made.
pub const PROXY_ERROR: &str = "l5d-proxy-error";
/// `close` on errors after which the connection is closed.
pub const PROXY_CONNECTION: &str = "l5d-proxy-connection";
/// Asked by an application, where its route allows it: which answers are asked for again.
pub const RETRY_HTTP: &str = "l5d-retry-http";
/// As [`RETRY_HTTP`], for gRPC codes.
pub const RETRY_GRPC: &str = "l5d-retry-grpc";
/// How often.
pub const RETRY_LIMIT: &str = "l5d-retry-limit";
/// How long one attempt may take to begin its response.
pub const RETRY_TIMEOUT: &str = "l5d-retry-timeout";
/// How long the whole exchange may take, retries included.
pub const TIMEOUT: &str = "l5d-timeout";
/// Another name of [`TIMEOUT`].
pub const REQUEST_TIMEOUT: &str = "l5d-request-timeout";
/// How long the response may take once the request was sent.
pub const RESPONSE_TIMEOUT: &str = "l5d-response-timeout";
/// `true` on an error a proxy made before anybody worked on the request: whatever its method, it may
/// be sent elsewhere. Ours; a proxy that does not know it ignores it.
pub const UNPROCESSED: &str = "mesh-unprocessed";
/// RFC 7239, appended by gateways; never trusted from a client.
pub const FORWARDED: &str = "forwarded";
