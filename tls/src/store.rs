//! The credentials of this process.
//!
//! One [`Store`] a process: `certify_loop` puts certificates in, handshakes take the current one
//! out. A renewal is seen by new handshakes at once; connections that exist keep theirs. The key
//! enters here and never leaves.

use crate::{
    Certified, Id, TrustAnchors,
    verify::{ClientVerifier, ServerVerifier, provider},
};
use rustls::{
    ClientConfig, ServerConfig, SignatureScheme,
    client::Resumption,
    crypto::CryptoProvider,
    server::NoServerSessionStorage,
    sign::{CertifiedKey, SingleCertAndKey},
    version::TLS13,
};
use rustls_pki_types::{PrivateKeyDer, UnixTime};
use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::sync::watch;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Identity, anchors and the current certificate; cheap to clone.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    id: Id,
    anchors: TrustAnchors,
    current: watch::Sender<Option<Arc<Current>>>,
}

/// What handshakes need, made once for each certificate.
pub(crate) struct Current {
    key: Arc<SingleCertAndKey>,
    server: Arc<ServerConfig>,
    server_with_header: Arc<ServerConfig>,
    valid_until: SystemTime,
}

/// A certificate that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The key is of another kind than P-256, which is all that peers accept.
    #[error("the private key is not a usable P-256 key: {0}")]
    Key(String),
    /// The certificate is for another key.
    #[error("the certificate is not for our private key: {0}")]
    Mismatch(rustls::Error),
    /// No peer would accept it.
    #[error(
        "the certificate does not verify against our trust anchors ({0}); does the issuer chain to them?"
    )]
    Chain(webpki::Error),
    /// It is somebody else's.
    #[error("the certificate is for {found:?} and not for {expected}")]
    Name {
        /// Who we are.
        expected: Id,
        /// The names it bears.
        found: Vec<String>,
    },
    /// It has expired on arrival.
    #[error(
        "the certificate has expired already; do the clocks of this machine and of the issuer agree?"
    )]
    Expired,
    /// Our own TLS configuration is wrong.
    #[error("cannot configure TLS: {0}")]
    Config(rustls::Error),
}

impl Store {
    /// Without a certificate yet.
    pub fn new(id: Id, anchors: TrustAnchors) -> Self {
        Self(Arc::new(Inner {
            id,
            anchors,
            current: watch::Sender::new(None),
        }))
    }

    /// Who we are.
    pub fn id(&self) -> &Id {
        &self.0.id
    }

    /// Whom we trust.
    pub fn anchors(&self) -> &TrustAnchors {
        &self.0.anchors
    }

    /// Resolves once there is a certificate.
    pub async fn ready(&self) {
        let mut current = self.0.current.subscribe();
        // Cannot fail: `self` holds the sender.
        let _ = current.wait_for(Option::is_some).await;
    }

    /// Resolves at the next installation; for those that count or report them.
    pub async fn renewed(&self) {
        let _ = self.0.current.subscribe().changed().await;
    }

    /// Whether there is a certificate. One that has expired is still there, and is refused by
    /// peers.
    pub fn is_ready(&self) -> bool {
        self.0.current.borrow().is_some()
    }

    /// When the certificate expires.
    pub fn expiry(&self) -> Option<SystemTime> {
        Some(self.0.current.borrow().as_ref()?.valid_until)
    }

    /// Uses this certificate in new handshakes. It must be for this key and this store's identity
    /// and chain to its anchors; otherwise the old one stays.
    pub fn install(
        &self,
        certified: Certified,
        key: PrivateKeyDer<'static>,
    ) -> Result<(), InstallError> {
        let current = self.prepare(certified, key, SystemTime::now())?;
        self.0.current.send_replace(Some(Arc::new(current)));
        Ok(())
    }

    pub(crate) fn current(&self) -> Option<Arc<Current>> {
        self.0.current.borrow().clone()
    }

    fn prepare(
        &self,
        certified: Certified,
        key: PrivateKeyDer<'static>,
        now: SystemTime,
    ) -> Result<Current, InstallError> {
        let valid_until = certified.valid_until.min(not_after(&certified.leaf));
        if valid_until <= now {
            return Err(InstallError::Expired);
        }
        let since_epoch = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        self.anchors()
            .verify(
                &certified.leaf,
                &certified.intermediates,
                UnixTime::since_unix_epoch(since_epoch),
            )
            .map_err(InstallError::Chain)?;
        let found = Id::all_of(&certified.leaf);
        if !found.contains(self.id()) {
            return Err(InstallError::Name {
                expected: self.id().clone(),
                found: found.iter().map(Id::to_string).collect(),
            });
        }
        let key = Arc::new(SingleCertAndKey::from(certified_key(certified, key)?));
        Ok(Current {
            server: server_config(self.anchors(), &key, false)?,
            server_with_header: server_config(self.anchors(), &key, true)?,
            key,
            valid_until,
        })
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("id", self.id())
            .field("expiry", &self.expiry())
            .finish_non_exhaustive()
    }
}

impl Current {
    pub(crate) fn server(&self, transport_header: bool) -> Arc<ServerConfig> {
        if transport_header {
            self.server_with_header.clone()
        } else {
            self.server.clone()
        }
    }
}

/// The configuration of one client connection, which differs by whom it demands. `current` is
/// absent where we have to ask for our first certificate.
pub(crate) fn client_config(
    anchors: &TrustAnchors,
    current: Option<&Current>,
    expected: &Id,
    transport_header: bool,
) -> Result<Arc<ClientConfig>, rustls::Error> {
    let verifier = ServerVerifier {
        anchors: anchors.clone(),
        expected: expected.clone(),
    };
    let builder = ClientConfig::builder_with_provider(cryptography())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match current {
        Some(current) => builder.with_client_cert_resolver(current.key.clone()),
        None => builder.with_no_client_auth(),
    };
    // A resumed session would not be verified again, and outlive the certificate it rests on.
    config.resumption = Resumption::disabled();
    if transport_header {
        config.alpn_protocols = vec![mesh_contract::transport::ALPN.to_vec()];
    }
    Ok(Arc::new(config))
}

fn server_config(
    anchors: &TrustAnchors,
    key: &Arc<SingleCertAndKey>,
    transport_header: bool,
) -> Result<Arc<ServerConfig>, InstallError> {
    let mut config = ServerConfig::builder_with_provider(cryptography())
        .with_protocol_versions(&[&TLS13])
        .map_err(InstallError::Config)?
        .with_client_cert_verifier(Arc::new(ClientVerifier(anchors.clone())))
        .with_cert_resolver(key.clone());
    // As for clients: each connection proves its identity anew.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    if transport_header {
        config.alpn_protocols = vec![mesh_contract::transport::ALPN.to_vec()];
    }
    Ok(Arc::new(config))
}

fn certified_key(
    certified: Certified,
    key: PrivateKeyDer<'static>,
) -> Result<CertifiedKey, InstallError> {
    let key = provider()
        .key_provider
        .load_private_key(key)
        .map_err(|error| InstallError::Key(error.to_string()))?;
    if key
        .choose_scheme(&[SignatureScheme::ECDSA_NISTP256_SHA256])
        .is_none()
    {
        return Err(InstallError::Key("it is of another kind".to_owned()));
    }
    let mut chain = certified.intermediates;
    chain.insert(0, certified.leaf);
    let certified = CertifiedKey::new(chain, key);
    certified.keys_match().map_err(InstallError::Mismatch)?;
    Ok(certified)
}

fn cryptography() -> Arc<CryptoProvider> {
    provider().clone()
}

/// The epoch for what cannot be read, which then counts as expired.
fn not_after(certificate: &[u8]) -> SystemTime {
    let seconds = X509Certificate::from_der(certificate)
        .map(|(_, certificate)| certificate.validity().not_after.timestamp())
        .unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}
