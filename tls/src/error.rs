//! Why a handshake failed.

use crate::Id;
use rustls::{AlertDescription as Alert, CertificateError as Bad};
use std::io;

/// Why a mesh TLS connection could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This process has no certificate yet.
    #[error("this process has no certificate yet; is its issuer reachable?")]
    NotReady,
    /// Ours to fix: nothing to put into SNI.
    #[error("no usable TLS server name for {0}")]
    ServerName(String),
    /// The peer proved somebody else's identity.
    #[error("expected the peer to be {expected}, but its certificate says {}", found.join(", "))]
    WrongIdentity {
        /// Who it should be.
        expected: Id,
        /// The names of its certificate.
        found: Vec<String>,
    },
    /// The peer took too long.
    #[error("TLS handshake timed out")]
    Timeout,
    /// The handshake failed.
    #[error("TLS handshake failed: {}{}", .0, remedy(.0))]
    Handshake(#[source] io::Error),
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::NotReady => io::ErrorKind::NotConnected,
            Error::ServerName(_) => io::ErrorKind::InvalidInput,
            Error::WrongIdentity { .. } => io::ErrorKind::PermissionDenied,
            Error::Timeout => io::ErrorKind::TimedOut,
            Error::Handshake(source) => source.kind(),
        };
        io::Error::new(kind, error)
    }
}

/// What to look at next, where the failure tells.
fn remedy(error: &io::Error) -> &'static str {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        Some(rustls::Error::InvalidCertificate(bad)) => match bad {
            Bad::Expired | Bad::ExpiredContext { .. } => {
                "; does its owner reach its issuer, and do the clocks agree?"
            }
            Bad::NotValidYet | Bad::NotValidYetContext { .. } => "; do the clocks agree?",
            Bad::UnknownIssuer | Bad::BadSignature => {
                "; it is not issued below our trust anchors, which linked clusters must share"
            }
            _ => "",
        },
        Some(rustls::Error::AlertReceived(
            Alert::UnknownCA
            | Alert::BadCertificate
            | Alert::CertificateUnknown
            | Alert::CertificateExpired
            | Alert::DecryptError,
        )) => {
            "; the peer does not accept our certificate: do both trust the same anchors, and do the clocks agree?"
        }
        _ => "",
    }
}
