//! HTTP as both halves speak it: one body type, one server, one place where errors become
//! responses.

pub mod body;
pub mod client;
pub mod client_fault;
mod clock;
pub mod cut;
pub mod filter;
mod frames;
pub mod headers;
pub(crate) mod name;
pub mod observe;
pub mod orig_proto;
pub mod rescue;
pub mod route;
pub mod server;
pub mod strict;
pub mod upgrade;

pub use body::Body;
pub use server::{Version, serve_connection};
