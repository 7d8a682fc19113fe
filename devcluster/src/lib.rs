//! A cluster on one machine: an embedded Kubernetes API server, the controllers that make its
//! objects mean something, and a node agent that runs pods as local processes.
//!
//! For the quick start and for tests; production is Kubernetes. `cli` mounts [`apiserver::run`]
//! and [`node::run`]; other rooms' tests start a cluster in their own process with
//! [`testing`]. Nothing in here is seen by the proxy.

pub mod apiserver;
pub mod auth;
pub mod controllers;
pub mod node;
pub mod schema;
pub mod status;
pub mod store;
pub mod testing;
