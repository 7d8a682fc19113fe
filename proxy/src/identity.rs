//! Being somebody: keeps a fresh certificate in the [`mesh_tls::Store`].
//!
//! The mesh's issuer certifies a key that is made in memory and never leaves the process; an agent
//! outside a cluster sends certificate and key.

mod agent;

use mesh_daemon::{Shutdown, net::Resolver};
use mesh_tls::{
    Certified, Certifier, CertifyError, GrpcCertifier, Store, TrustAnchors, certify_loop, control,
};

use crate::{
    Error,
    config::{self, Issuer, Source},
    control::dialer,
    metrics::{ControlClient, Metrics},
};

/// An empty store for the configured identity.
pub fn store(config: &config::Identity) -> Result<Store, Error> {
    let anchors = match &config.source {
        Source::Issuer(issuer) => TrustAnchors::from_pem(&issuer.anchors).map_err(Error::other)?,
        // It tells them with the certificate.
        Source::Agent { .. } => TrustAnchors::none(),
    };
    let (id, server_name) = (config.id.clone(), config.server_name.clone());
    Ok(Store::named(id, server_name, anchors))
}

/// Certifies and renews, and trusts what the issuer says is to be trusted, until shutdown.
pub async fn run(
    config: config::Identity,
    store: Store,
    resolver: Resolver,
    metrics: Metrics,
    shutdown: Shutdown,
) {
    match config.source {
        Source::Issuer(issuer) => {
            let inner = certifier(issuer, store.clone(), &resolver, &metrics);
            let trust = inner.clone().follow_trust_bundle();
            let certifier = Counted { inner, metrics };
            let certify = certify_loop(store, certifier, async move { shutdown.requested().await });
            tokio::select! {
                () = certify => {}
                () = trust => {}
            }
        }
        Source::Agent { api, pauses } => {
            tokio::select! {
                never = agent::follow(&api, pauses, &store, &metrics) => match never {},
                () = shutdown.requested() => {}
            }
        }
    }
}

fn certifier(
    issuer: Issuer,
    store: Store,
    resolver: &Resolver,
    metrics: &Metrics,
) -> GrpcCertifier {
    let dial = dialer(ControlClient::Identity, &issuer.addr, resolver, metrics);
    let config::ControlAddr { host, port, name } = issuer.addr;
    let token = issuer.token_file;
    match name {
        None => GrpcCertifier::plaintext(host, port, store, token, dial),
        Some(identity) => {
            let addr = control::ControlAddr {
                host,
                port,
                identity,
            };
            GrpcCertifier::new(addr, store, token, dial)
        }
    }
}

/// Counts what a certifier does.
struct Counted<C> {
    inner: C,
    metrics: Metrics,
}

impl<C: Certifier> Certifier for Counted<C> {
    async fn certify(&self, csr_der: Vec<u8>) -> Result<Certified, CertifyError> {
        let answer = self.inner.certify(csr_der).await;
        match &answer {
            Ok(certified) => self.metrics.certified(Some(certified.valid_until)),
            Err(_) => self.metrics.not_certified(),
        }
        answer
    }
}
