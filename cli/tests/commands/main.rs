//! The `mesh` command as users meet it: the built binary, its exit codes and its messages, alone
//! and against real API servers.

#![allow(clippy::unwrap_used, clippy::panic)] // a test that cannot go on says so

mod certificates;
mod checks;
mod demo;
mod extension_flags;
mod install;
mod lifecycle;
mod link_flags;
mod linking;
mod multicluster;
mod odd;
mod offline;
mod sandbox;
