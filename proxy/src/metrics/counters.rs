//! Plain counters: their names and meanings.

/// Plain counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Counter {
    HttpAllow,
    HttpDeny,
    HttpRouteNotFound,
    TcpAllow,
    TcpDeny,
    TcpTerminate,
    InboundTcpErrors,
    InboundHttpErrors,
    OutboundTcpErrors,
    OutboundHttpErrors,
    TransportHeader,
    RateLimited,
    OutboundHttpRetries,
    RouteRetryable,
    OutboundProtocol,
    TcpRouteOpen,
    TcpRouteClose,
    TlsRouteOpen,
    TlsRouteClose,
}

/// Names and meanings, in the order of [`Counter`].
pub(super) const NAMES: [(&str, &str); 19] = [
    (
        "inbound_http_authz_allow_total",
        "The total number of inbound HTTP requests that were authorized",
    ),
    (
        "inbound_http_authz_deny_total",
        "The total number of inbound HTTP requests that were denied",
    ),
    (
        "inbound_http_route_not_found_total",
        "The total number of inbound HTTP requests that could not be associated with a route",
    ),
    (
        "inbound_tcp_authz_allow_total",
        "The total number of inbound TCP connections that were authorized",
    ),
    (
        "inbound_tcp_authz_deny_total",
        "The total number of inbound TCP connections that were denied",
    ),
    (
        "inbound_tcp_authz_terminate_total",
        "The total number of inbound TCP connections that were terminated by a policy change",
    ),
    (
        "inbound_tcp_errors_total",
        "The total number of inbound TCP connections that could not be processed",
    ),
    (
        "inbound_http_errors_total",
        "The total number of inbound HTTP requests that could not be processed",
    ),
    (
        "outbound_tcp_errors_total",
        "The total number of outbound TCP connections that could not be processed",
    ),
    (
        "outbound_http_errors_total",
        "The total number of outbound HTTP requests that could not be processed",
    ),
    (
        "inbound_tcp_transport_header_connections_total",
        "The total number of inbound connections with a transport header",
    ),
    (
        "inbound_http_local_ratelimit_total",
        "The total number of inbound HTTP requests that were rate-limited",
    ),
    (
        "outbound_http_retries_total",
        "Failed attempts of outbound requests and connections, and what became of them",
    ),
    (
        "route_retryable_total",
        "Requests that their route of a ServiceProfile asks to send again",
    ),
    (
        "outbound_tcp_protocol_connections_total",
        "Outbound TCP connections by protocol configuration",
    ),
    (
        "outbound_tcp_route_open_total",
        "The number of connections opened",
    ),
    (
        "outbound_tcp_route_close_total",
        "The number of connections closed",
    ),
    (
        "outbound_tls_route_open_total",
        "The number of connections opened",
    ),
    (
        "outbound_tls_route_close_total",
        "The number of connections closed",
    ),
];
