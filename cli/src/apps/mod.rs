//! The demo's applications: ordinary programs that know nothing of the mesh.

pub(crate) mod demo_client;
pub(crate) mod demo_web;
mod server;
