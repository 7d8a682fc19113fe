//! What every controller shares: watches that feed an index, keyed writes, and a lease.
//!
//! - [`drive`] turns a Kubernetes watch into calls on an [`Index`], which is plain data.
//! - [`Writer`] carries out actions by key: bounded concurrency, a deadline each, and a back-off
//!   for each key that fails.
//! - [`lease`] elects the one process that may write.
//! - [`MemberArgs`] says who a controller is, whom it trusts and who certifies it.
//!
//! Nothing here exits a process: an API server that fails is asked again.

mod drive;
pub mod lease;
mod member;
mod said;
mod state;
mod writer;

pub use crate::{
    drive::{Index, Source, drive},
    member::{MemberArgs, MemberError},
    said::said,
    state::{Failure, WatchState},
    writer::{Counters, Outcome, Writer},
};
