//! Being somebody: keeps a fresh certificate in the [`mesh_tls::Store`]. The key is made in
//! memory and never leaves the process.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use mesh_daemon::{Shutdown, net::Resolver};
use mesh_tls::{
    Certified, Certifier, CertifyError, GrpcCertifier, Store, TrustAnchors, certify_loop,
    control::{self, Dial},
};

use crate::{Error, config, metrics::Metrics};

/// An empty store for the configured identity.
pub fn store(config: &config::Identity) -> Result<Store, Error> {
    let anchors = TrustAnchors::from_pem(&config.anchors).map_err(Error::other)?;
    Ok(Store::new(config.id.clone(), anchors))
}

/// Certifies and renews, and trusts what the issuer says is to be trusted, until shutdown.
pub async fn run(
    config: config::Identity,
    store: Store,
    resolver: Resolver,
    metrics: Metrics,
    shutdown: Shutdown,
) {
    let inner = certifier(config, store.clone(), resolver);
    let trust = inner.clone().follow_trust_bundle();
    let certifier = Counted { inner, metrics };
    let certify = certify_loop(store, certifier, async move { shutdown.requested().await });
    tokio::select! {
        () = certify => {}
        () = trust => {}
    }
}

const DIAL_TIMEOUT: Duration = Duration::from_secs(3);

fn certifier(config: config::Identity, store: Store, resolver: Resolver) -> GrpcCertifier {
    let dial: Dial = Arc::new(move |host: String, port| {
        let resolver = resolver.clone();
        Box::pin(async move { mesh_daemon::net::dial(&resolver, &host, port, DIAL_TIMEOUT).await })
            as BoxFuture<'static, _>
    });
    let config::ControlAddr { host, port, name } = config.addr;
    let token = config.token_file;
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
