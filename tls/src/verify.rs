//! The proof of a peer's identity.
//!
//! A peer is believed when its certificate chains to one of the [`TrustAnchors`] (names play no
//! part in that) and it holds the certificate's key. A client then demands that one of the
//! certificate's names is the one it expects; a server takes the first as the client's identity.
//! These verifiers are the only ones a handshake of this room uses, and [`Verified`] is made from
//! nothing else.

use crate::{Id, TrustAnchors};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, PeerIncompatible,
    SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{self, CryptoProvider},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::{
    fmt,
    sync::{Arc, LazyLock},
};

/// A peer's identity, proven by its certificate and its key in a handshake of this room.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Verified(Id);

impl Verified {
    /// Who the peer is.
    pub fn id(&self) -> &Id {
        &self.0
    }

    /// The client of a finished handshake: the first usable name of the certificate that
    /// [`ClientVerifier`] accepted in it.
    pub(crate) fn client(connection: &rustls::ServerConnection) -> Option<Self> {
        let leaf = connection.peer_certificates()?.first()?;
        Id::all_of(leaf).into_iter().next().map(Self)
    }

    /// The server of a finished handshake in which [`ServerVerifier`] demanded `id`.
    pub(crate) fn server(_connection: &rustls::ClientConnection, id: Id) -> Self {
        Self(id)
    }
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Cryptography of every handshake: TLS 1.3 suites only, post-quantum key exchange first.
pub(crate) fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        use crypto::aws_lc_rs::{cipher_suite as suite, default_provider, kx_group};
        Arc::new(CryptoProvider {
            cipher_suites: vec![
                suite::TLS13_AES_128_GCM_SHA256,
                suite::TLS13_AES_256_GCM_SHA384,
                suite::TLS13_CHACHA20_POLY1305_SHA256,
            ],
            kx_groups: vec![
                kx_group::X25519MLKEM768,
                kx_group::X25519,
                kx_group::SECP256R1,
                kx_group::SECP384R1,
            ],
            ..default_provider()
        })
    });
    &PROVIDER
}

/// The server proved somebody else's identity; travels through rustls as its `OtherError`.
#[derive(Debug, thiserror::Error)]
#[error("certificate does not match TLS identity {expected}")]
pub(crate) struct WrongServer {
    pub(crate) expected: Id,
    pub(crate) found: Vec<Id>,
}

/// Demands one identity of the server. Made for one connection.
#[derive(Debug)]
pub(crate) struct ServerVerifier {
    pub(crate) anchors: TrustAnchors,
    pub(crate) expected: Id,
}

/// Accepts any client of the mesh, and one without a certificate.
#[derive(Debug)]
pub(crate) struct ClientVerifier(pub(crate) TrustAnchors);

/// That a peer holds its key is proven alike on both sides; rustls asks each verifier for it.
macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            _message: &[u8],
            _certificate: &CertificateDer<'_>,
            _signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Err(PeerIncompatible::Tls12NotOffered.into())
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            let algorithms = &provider().signature_verification_algorithms;
            crypto::verify_tls13_signature(message, certificate, signature, algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            provider()
                .signature_verification_algorithms
                .supported_schemes()
        }
    };
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chained = self.anchors.verify(leaf, intermediates, now);
        chained.map_err(refuse)?;
        let found = Id::all_of(leaf);
        if found.contains(&self.expected) {
            return Ok(ServerCertVerified::assertion());
        }
        let wrong = WrongServer {
            expected: self.expected.clone(),
            found,
        };
        Err(CertificateError::Other(OtherError(Arc::new(wrong))).into())
    }

    signatures!();
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let chained = self.0.verify(leaf, intermediates, now);
        chained.map_err(refuse)?;
        Ok(ClientCertVerified::assertion())
    }

    signatures!();
}

/// Chooses the alert the peer gets, which is all it learns.
fn refuse(error: webpki::Error) -> rustls::Error {
    use webpki::Error as E;
    let error = match error {
        E::CertExpired { .. } => CertificateError::Expired,
        E::CertNotValidYet { .. } => CertificateError::NotValidYet,
        E::UnknownIssuer => CertificateError::UnknownIssuer,
        E::BadDer | E::BadDerTime => CertificateError::BadEncoding,
        E::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        other => CertificateError::Other(OtherError(Arc::new(other))),
    };
    error.into()
}
