//! The real service mirror against real API servers, all in this process: what clusters export,
//! what goes wrong with Links and Services, and what must never happen.

#![allow(clippy::unwrap_used, clippy::panic)] // a test that cannot go on says so

mod direct;
mod exports;
mod federated;
mod lease;
mod links;
mod refusals;
mod sandbox;
mod silence;
