//! TLS sessions to resume (RFC 8446, section 2.2), so that the next connection to the same peer
//! needs no signatures.
//!
//! A resumed session proves what the connection before it proved: that its peers hold the session's
//! secret. So that it proves no more, sessions live and die with the certificate and the anchors
//! they rest on (they are part of [`Current`](crate::store::Current), and so is the server's key for
//! tickets), and [`outlived`] refuses those whose peer's certificate has expired since. The key
//! exchange is done anew each time; early data is never sent.
//!
//! Tickets are for one server process: another endpoint of the same identity cannot read them.
//! Sessions are therefore kept by address.

use crate::{Error, Target, ca::validity};
use parking_lot::Mutex;
use rustls::{
    CertificateError, ClientConfig, CommonState, HandshakeKind, NamedGroup,
    client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue},
};
use rustls_pki_types::{CertificateDer, ServerName};
use std::{
    collections::{HashMap, VecDeque},
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};
use x509_parser::prelude::{FromDer, X509Certificate};

/// What is kept of each peer that was connected to, for as long as our certificate.
#[derive(Default)]
pub(crate) struct Sessions(Mutex<HashMap<(SocketAddr, Target), Arc<ClientConfig>>>);

impl Sessions {
    /// So many peers; one more, and all are forgotten, which costs each one whole handshake.
    const MOST: usize = 128;

    /// The configuration for connections to `peer`, which remembers its sessions.
    pub(crate) fn config(
        &self,
        peer: SocketAddr,
        target: &Target,
        make: impl FnOnce() -> Result<ClientConfig, rustls::Error>,
    ) -> Result<Arc<ClientConfig>, rustls::Error> {
        let key = (peer, target.clone());
        if let Some(known) = self.0.lock().get(&key) {
            return Ok(known.clone());
        }
        let mut config = make()?;
        config.resumption = rustls::client::Resumption::store(Arc::new(Tickets::default()))
            .tls12_resumption(rustls::client::Tls12Resumption::Disabled);
        let config = Arc::new(config);
        let mut known = self.0.lock();
        if known.len() >= Self::MOST {
            known.clear();
        }
        known.insert(key, config.clone());
        Ok(config)
    }
}

/// The tickets of one peer, the newest last; each is used once.
#[derive(Debug, Default)]
struct Tickets(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    group: Option<NamedGroup>,
    tickets: VecDeque<Tls13ClientSessionValue>,
}

impl Tickets {
    /// So many connections may begin at once and all be resumed.
    const MOST: usize = 4;
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.0.lock().group = Some(group);
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.0.lock().group
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        let mut kept = self.0.lock();
        if kept.tickets.len() >= Self::MOST {
            kept.tickets.pop_front();
        }
        kept.tickets.push_back(ticket);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.lock().tickets.pop_back()
    }
}

/// Refuses a resumed session whose peer's certificate, verified when the session began, has
/// expired by `now`.
pub(crate) fn outlived(connection: &CommonState, now: SystemTime) -> Result<(), Error> {
    if connection.handshake_kind() != Some(HandshakeKind::Resumed) {
        return Ok(());
    }
    match connection.peer_certificates() {
        Some(chain) if expired(chain, now) => {
            let error = rustls::Error::InvalidCertificate(CertificateError::Expired);
            Err(Error::Handshake(io::Error::other(error)))
        }
        _ => Ok(()),
    }
}

/// Whether any certificate of `chain` is not valid any more; one that cannot be read is not. As in
/// a whole handshake, the last second counts whole.
fn expired(chain: &[CertificateDer<'_>], now: SystemTime) -> bool {
    chain.iter().any(|certificate| {
        X509Certificate::from_der(certificate)
            .map_or(true, |(_, parsed)| validity(&parsed).1 + SECOND <= now)
    })
}

const SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
