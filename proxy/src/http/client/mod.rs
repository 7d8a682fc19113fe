//! HTTP connections to endpoints: pools for HTTP/1, shared connections for HTTP/2.
