//! The credentials of this process.
//!
//! One [`Store`] a process: `certify_loop` puts certificates in, `follow_anchors` (or who else
//! reads them) the trust anchors, and handshakes take the current ones out. A change is seen by new
//! handshakes at once; connections that exist stay as they are. The key enters here and never
//! leaves.

use crate::{
    Certified, Id, Svid, Target, TrustAnchors,
    ca::validity,
    resume::Sessions,
    verify::{ClientVerifier, ServerVerifier, provider},
};
use rustls::{
    ClientConfig, ServerConfig, SignatureScheme,
    client::Resumption,
    crypto::{CryptoProvider, aws_lc_rs::Ticketer},
    server::NoServerSessionStorage,
    sign::{CertifiedKey, SingleCertAndKey},
    version::TLS13,
};
use rustls_pki_types::{PrivateKeyDer, UnixTime};
use std::{fmt, net::SocketAddr, sync::Arc, time::SystemTime};
use tokio::sync::watch;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Identity, anchors and the current certificate; cheap to clone.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    id: Id,
    /// What clients name us by in their hello, where it is not `id`.
    server_name: Option<String>,
    state: watch::Sender<State>,
}

/// Changed as a whole, so that no handshake has the anchors of one moment and the certificate of
/// another.
struct State {
    anchors: TrustAnchors,
    current: Option<Arc<Current>>,
    /// How many certificates were installed.
    installed: u64,
    /// How often a new certificate was asked for before its time.
    asked: u64,
}

/// What handshakes need, made once for each certificate.
pub(crate) struct Current {
    key: Arc<SingleCertAndKey>,
    server: Arc<ServerConfig>,
    server_with_header: Arc<ServerConfig>,
    sessions: Sessions,
    facts: Facts,
}

/// What is told of a certificate.
#[derive(Clone)]
struct Facts {
    valid_until: SystemTime,
    /// SHA-256 of its issuer's certificate.
    issuer: Option<String>,
}

impl State {
    fn issuer(&self) -> Option<&str> {
        self.current.as_ref()?.facts.issuer.as_deref()
    }
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
        Self::named(id, None, anchors)
    }

    /// As [`Store::new`]; clients name us by `server_name` in their hello. An identity that is a URI
    /// cannot be named there.
    pub fn named(id: Id, server_name: Option<String>, anchors: TrustAnchors) -> Self {
        let state = State {
            anchors,
            current: None,
            installed: 0,
            asked: 0,
        };
        Self(Arc::new(Inner {
            id,
            server_name,
            state: watch::Sender::new(state),
        }))
    }

    /// Who we are.
    pub fn id(&self) -> &Id {
        &self.0.id
    }

    /// What clients name us by in their hello (SNI).
    pub fn server_name(&self) -> &str {
        self.0.server_name.as_deref().unwrap_or(self.0.id.as_str())
    }

    /// Whom we trust.
    pub fn anchors(&self) -> TrustAnchors {
        self.0.state.borrow().anchors.clone()
    }

    /// Trusts these anchors, and no others, in new handshakes. Our own certificate stays, as
    /// others may still trust it, but `certify_loop` asks for another at once.
    pub fn trust(&self, anchors: TrustAnchors) -> Result<(), InstallError> {
        let mut outcome = Ok(());
        self.0.state.send_if_modified(|state| {
            if state.anchors == anchors {
                return false;
            }
            let current = state.current.as_ref().map(|current| current.with(&anchors));
            match current.transpose() {
                Ok(current) => {
                    state.current = current.map(Arc::new);
                    state.anchors = anchors;
                }
                Err(error) => outcome = Err(error),
            }
            outcome.is_ok()
        });
        outcome
    }

    /// Asks for a new certificate before its time, as there is a new issuer.
    pub fn ask_renewal(&self) {
        self.0.state.send_modify(|state| state.asked += 1);
    }

    /// How often one was asked for.
    pub(crate) fn renewals_asked(&self) -> u64 {
        self.0.state.borrow().asked
    }

    /// Resolves once the certificate should be replaced: other anchors are trusted than `known`, or
    /// one was asked for since `asked`.
    pub(crate) async fn overtaken(&self, known: &TrustAnchors, asked: u64) {
        self.reached(|state| state.anchors != *known || state.asked != asked)
            .await;
    }

    /// Resolves once what [`Store::anchors`] or [`Store::issuer`] say is not this.
    pub(crate) async fn differs(&self, anchors: &TrustAnchors, issuer: Option<&str>) {
        let other = |state: &State| state.anchors != *anchors || state.issuer() != issuer;
        self.reached(other).await;
    }

    /// Resolves once there is a certificate.
    pub async fn ready(&self) {
        self.reached(|state| state.current.is_some()).await;
    }

    /// Resolves at the next installation; for those that count or report them.
    pub async fn renewed(&self) {
        let before = self.0.state.borrow().installed;
        self.reached(|state| state.installed != before).await;
    }

    async fn reached(&self, wanted: impl FnMut(&State) -> bool) {
        let mut state = self.0.state.subscribe();
        // Cannot fail: `self` holds the sender.
        let _ = state.wait_for(wanted).await;
    }

    /// Whether there is a certificate. One that has expired is still there, and is refused by
    /// peers.
    pub fn is_ready(&self) -> bool {
        self.0.state.borrow().current.is_some()
    }

    /// SHA-256 of the certificate that signed ours, in hex; none where a trust anchor did.
    pub fn issuer(&self) -> Option<String> {
        self.0.state.borrow().issuer().map(str::to_owned)
    }

    /// When the certificate expires.
    pub fn expiry(&self) -> Option<SystemTime> {
        Some(self.0.state.borrow().current.as_ref()?.facts.valid_until)
    }

    /// Uses this certificate in new handshakes. It must be for this key and this store's identity
    /// and chain to its anchors; otherwise the old one stays.
    pub fn install(
        &self,
        certified: Certified,
        key: PrivateKeyDer<'static>,
    ) -> Result<(), InstallError> {
        self.change(None, certified, key)
    }

    /// As [`Store::install`], of a certificate that came together with whom to trust.
    pub fn adopt(&self, svid: Svid) -> Result<(), InstallError> {
        self.change(Some(svid.anchors), svid.certified, svid.key)
    }

    fn change(
        &self,
        anchors: Option<TrustAnchors>,
        certified: Certified,
        key: PrivateKeyDer<'static>,
    ) -> Result<(), InstallError> {
        let mut outcome = Ok(());
        self.0.state.send_if_modified(|state| {
            let anchors = anchors.unwrap_or_else(|| state.anchors.clone());
            match self.prepare(&anchors, certified, key, SystemTime::now()) {
                Ok(current) => {
                    state.current = Some(Arc::new(current));
                    state.anchors = anchors;
                    state.installed += 1;
                }
                Err(error) => outcome = Err(error),
            }
            outcome.is_ok()
        });
        outcome
    }

    /// What one handshake needs: whom to trust, and the certificate if there is one.
    pub(crate) fn credentials(&self) -> (TrustAnchors, Option<Arc<Current>>) {
        let state = self.0.state.borrow();
        (state.anchors.clone(), state.current.clone())
    }

    fn prepare(
        &self,
        anchors: &TrustAnchors,
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
        anchors
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
        let facts = Facts {
            valid_until,
            issuer: certified
                .intermediates
                .first()
                .map(|der| crate::sha256(der)),
        };
        let key = Arc::new(SingleCertAndKey::from(certified_key(certified, key)?));
        Current::new(anchors, key, facts)
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
    fn new(
        anchors: &TrustAnchors,
        key: Arc<SingleCertAndKey>,
        facts: Facts,
    ) -> Result<Self, InstallError> {
        Ok(Self {
            server: server_config(anchors, &key, false)?,
            server_with_header: server_config(anchors, &key, true)?,
            sessions: Sessions::default(),
            key,
            facts,
        })
    }

    /// The same certificate, for whom other anchors vouch.
    fn with(&self, anchors: &TrustAnchors) -> Result<Self, InstallError> {
        Self::new(anchors, self.key.clone(), self.facts.clone())
    }

    pub(crate) fn server(&self, transport_header: bool) -> Arc<ServerConfig> {
        if transport_header {
            self.server_with_header.clone()
        } else {
            self.server.clone()
        }
    }
}

/// The configuration of client connections, which differs by whom they demand, and for `peer`, if
/// there is one, remembers sessions. `current` is absent where we have to ask for our first
/// certificate.
pub(crate) fn client_config(
    anchors: &TrustAnchors,
    current: Option<&Current>,
    target: &Target,
    peer: Option<SocketAddr>,
) -> Result<Arc<ClientConfig>, rustls::Error> {
    let make = || forgetful(anchors, current, &target.server_id, target.transport_header);
    match (current, peer) {
        (Some(current), Some(peer)) => current.sessions.config(peer, target, make),
        _ => make().map(Arc::new),
    }
}

/// A client's configuration that resumes nothing.
fn forgetful(
    anchors: &TrustAnchors,
    current: Option<&Current>,
    expected: &Id,
    transport_header: bool,
) -> Result<ClientConfig, rustls::Error> {
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
    config.resumption = Resumption::disabled();
    if transport_header {
        config.alpn_protocols = vec![mesh_contract::transport::ALPN.to_vec()];
    }
    Ok(config)
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
    // A ticket holds its session; nothing is stored here. Its key goes with this configuration.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = Ticketer::new().map_err(InstallError::Config)?;
    config.send_tls13_tickets = 1;
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
    X509Certificate::from_der(certificate)
        .map_or(SystemTime::UNIX_EPOCH, |(_, parsed)| validity(&parsed).1)
}
