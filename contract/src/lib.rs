//! The words every room shares: ports, environment names, headers, labels, annotations,
//! well-known object names, identity names and images.
//!
//! This room knows nobody and does nothing; everyone may read it. A string that two rooms must
//! agree on lives here, once. Most of them are Linkerd's public API, kept as they are.

pub mod annotations;
pub mod env;
pub mod headers;
pub mod identity;
pub mod images;
pub mod labels;
pub mod names;
pub mod ports;
pub mod transport;
