//! Header rules that hold for every hop, in both directions.

use http::HeaderMap;

/// Drops what `Connection` names and the hop-by-hop headers themselves.
pub fn strip_hop_by_hop(_headers: &mut HeaderMap) {
    todo!()
}

/// Whether the request is gRPC: HTTP/2 with a gRPC content type.
pub fn is_grpc<B>(_request: &http::Request<B>) -> bool {
    todo!()
}
