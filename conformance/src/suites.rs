//! The suites, one file each.

pub(crate) mod curl;
pub(crate) mod grpc;
pub(crate) mod h2spec;
pub(crate) mod websocket;
pub(crate) mod wrk;
