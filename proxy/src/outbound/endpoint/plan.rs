//! How to connect to an endpoint, decided without connecting: which port, which identity, which
//! transport header.

use std::net::SocketAddr;

use super::{Hint, Metadata};
use crate::transport_header::{Header, Session};

/// What a connection will carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// HTTP in this framing.
    Http(Session),
    /// Bytes.
    Opaque,
}

/// How to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Whom to dial.
    pub dial: SocketAddr,
    /// Mesh TLS; `None`: in the clear.
    pub tls: Option<mesh_tls::Target>,
    /// Written first, if the server expects it.
    pub header: Option<Header>,
}

/// `local` endpoints are this very pod: the application is reached past its own proxy.
pub fn plan(addr: SocketAddr, metadata: &Metadata, local: bool, purpose: Purpose) -> Plan {
    let Some(tls) = metadata.tls.as_ref().filter(|_| !local) else {
        return Plan {
            dial: addr,
            tls: None,
            header: None,
        };
    };
    let with_header = metadata.inbound_port.is_some() || metadata.authority.is_some();
    let dial = match metadata.inbound_port {
        Some(port) => SocketAddr::new(addr.ip(), port),
        None => addr,
    };
    // An authority without a port names nobody a header could name.
    let named = metadata
        .authority
        .as_ref()
        .and_then(|authority| Some((authority.host.clone(), authority.port?)));
    let (name, port) = match named {
        Some((name, port)) => (Some(name), port),
        None => (None, addr.port()),
    };
    let session = match (purpose, metadata.hint) {
        (Purpose::Opaque, _) | (_, Hint::Opaque) => None,
        (Purpose::Http(session), _) => Some(session),
    };
    Plan {
        dial,
        tls: Some(mesh_tls::Target {
            server_id: tls.id.clone(),
            server_name: tls.server_name.clone(),
            transport_header: with_header,
        }),
        header: with_header.then_some(Header {
            port,
            name,
            session,
        }),
    }
}
