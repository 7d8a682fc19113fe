//! The webhooks: a TLS server, and the pure answers it gives.

mod events;
mod review;
mod server;
mod service;

pub(crate) use self::{
    review::{Answer, Request},
    server::{CertificateSlot, serve},
    service::Service,
};

#[cfg(test)]
mod tests;
