//! The certificates of the kubelet's port: its own, made for this start and published by the Node
//! object, and those of callers, which the cluster's client CA must have signed.
//!
//! kube-apiserver publishes that CA in a ConfigMap; where there is none (the embedded API server)
//! nobody is asked for a certificate.

use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::Context as _;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use mesh_daemon::readiness::Guard;
use parking_lot::Mutex;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio_rustls::TlsAcceptor;

use super::follow::follow_some;

const NAMESPACE: &str = "kube-system";
const CONFIG_MAP: &str = "extension-apiserver-authentication";
const KEY: &str = "client-ca-file";

/// What connections are accepted with.
pub(super) struct Serving {
    /// The certificate, PEM.
    pub(super) pem: String,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    acceptor: Mutex<TlsAcceptor>,
}

impl Serving {
    /// Makes the certificate. It names the address the Node object gives.
    pub(super) fn new(node: &str, address: Ipv4Addr) -> anyhow::Result<Self> {
        let names = vec![node.to_owned(), address.to_string()];
        let made =
            rcgen::generate_simple_self_signed(names).context("making a serving certificate")?;
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let certificate = made.cert.der().clone();
        let acceptor = acceptor(&certificate, &key, None)?;
        Ok(Self {
            pem: made.cert.pem(),
            certificate,
            key,
            acceptor: Mutex::new(acceptor),
        })
    }

    /// For the next connection.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.lock().clone()
    }

    /// Keeps to the cluster's client CA for ever. `guard` is dropped once it is known, or known not
    /// to be there.
    pub(super) async fn follow(self: Arc<Self>, client: Client, guard: Guard) {
        let api: Api<ConfigMap> = Api::namespaced(client, NAMESPACE);
        let which = watcher::Config::default().fields(&format!("metadata.name={CONFIG_MAP}"));
        let mut maps = std::pin::pin!(follow_some(api, which, "the client CA"));
        let mut guard = Some(guard);
        while let Some(event) = maps.next().await {
            match event {
                Event::InitApply(map) | Event::Apply(map) => {
                    let pem = map.data.unwrap_or_default().remove(KEY);
                    self.trust(&pem.unwrap_or_default());
                }
                Event::Init | Event::Delete(_) => {}
                Event::InitDone => drop(guard.take()),
            }
        }
    }

    /// A CA that cannot be read leaves what was trusted before.
    fn trust(&self, pem: &str) {
        let changed = roots(pem)
            .and_then(|roots| acceptor(&self.certificate, &self.key, Some(roots)))
            .map(|acceptor| *self.acceptor.lock() = acceptor);
        if let Err(error) = changed {
            tracing::warn!(
                error = format!("{error:#}"),
                "cannot use the client CA in ConfigMap {NAMESPACE}/{CONFIG_MAP}; \
                 kubectl logs and exec may be refused"
            );
        }
    }
}

fn roots(pem: &str) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate.context("reading a certificate")?)?;
    }
    anyhow::ensure!(!roots.is_empty(), "{KEY} has no certificate");
    Ok(roots)
}

fn acceptor(
    certificate: &CertificateDer<'static>,
    key: &PrivateKeyDer<'static>,
    clients: Option<RootCertStore>,
) -> anyhow::Result<TlsAcceptor> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .context("choosing TLS versions")?;
    let config = match clients {
        None => config.with_no_client_auth(),
        Some(roots) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider)
                // A bearer token does as well.
                .allow_unauthenticated()
                .build()
                .context("verifying client certificates")?;
            config.with_client_cert_verifier(verifier)
        }
    };
    let mut config = config
        .with_single_cert(vec![certificate.clone()], key.clone_key())
        .context("using the serving certificate")?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_client_ca_is_refused() {
        assert!(roots("").is_err());
        assert!(roots("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").is_err());
        let made = rcgen::generate_simple_self_signed(vec!["ca".to_owned()]).unwrap();
        assert_eq!(roots(&made.cert.pem()).unwrap().len(), 1);
    }
}
