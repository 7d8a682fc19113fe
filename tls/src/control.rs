//! gRPC over mesh TLS: what the control plane serves and dials.
//!
//! Servers put their [`Services`] behind a port with [`serve`] and read [`ClientIdentity`] from each
//! request; clients make a [`channel`]. How a host is reached is the process's business ([`Dial`]): this room knows no
//! resolver.

mod connections;
mod incoming;
mod serve;

pub use connections::{Connections, Dialler};
pub use incoming::{ClientIdentity, ServerIo, incoming};
pub use serve::{Services, serve};

use crate::{Id, Store, Target, connect, connect_anonymous};
use futures::future::BoxFuture;
use http::Uri;
use hyper_util::rt::TokioIo;
use std::{fmt, io, sync::Arc, time::Duration};
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};

/// A control-plane address and who must answer there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ControlAddr {
    /// DNS name or IP.
    pub host: String,
    /// Port.
    pub port: u16,
    /// The identity the server must prove.
    pub identity: Id,
}

/// Not `host:port`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not host:port")]
pub struct InvalidAddr(pub String);

/// How to reach a host and port: given by the process.
pub type Dial = Arc<dyn Fn(String, u16) -> BoxFuture<'static, io::Result<TcpStream>> + Send + Sync>;

/// For name resolution, connection and handshake together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// So that a peer that vanished without a word is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(3);

impl ControlAddr {
    /// From `host:port`; the host may be a name (a trailing dot is kept) or an IP.
    pub fn new(addr: &str, identity: Id) -> Result<Self, InvalidAddr> {
        let invalid = || InvalidAddr(addr.chars().take(300).collect());
        let (host, port) = addr.rsplit_once(':').ok_or_else(invalid)?;
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let host = bare.unwrap_or(host);
        let port = port.parse().ok().filter(|port| *port != 0);
        let usable = authority(host, 1).parse::<http::uri::Authority>().is_ok();
        match port {
            Some(port) if !host.is_empty() && usable => Ok(Self {
                host: host.to_owned(),
                port,
                identity,
            }),
            _ => Err(invalid()),
        }
    }
}

impl fmt::Display for ControlAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&authority(&self.host, self.port))
    }
}

/// A lazy, reconnecting channel over mesh TLS with our certificate. Its requests wait for the
/// store to be certified; a connection that cannot be made fails those that wait for it with
/// `Unavailable`, and the next request tries again: callers back off.
pub fn channel(addr: ControlAddr, store: Store, dial: impl Into<Dialler>) -> Channel {
    let Dialler { dial, connections } = dial.into();
    lazy(&addr.to_string(), connections, move || {
        let (addr, store, dial) = (addr.clone(), store.clone(), dial.clone());
        async move {
            store.ready().await;
            within(async {
                let io = dial(addr.host.clone(), addr.port).await?;
                Ok(connect(&store, &addr.target(), io).await?)
            })
            .await
        }
    })
}

/// As [`channel`], but shows no certificate and waits for none: the one to get it through, whatever
/// became of the certificate before. It may have run out, or be under an anchor that was replaced.
pub(crate) fn bootstrap_channel(
    addr: ControlAddr,
    store: Store,
    dial: impl Into<Dialler>,
) -> Channel {
    let Dialler { dial, connections } = dial.into();
    lazy(&addr.to_string(), connections, move || {
        let (addr, store, dial) = (addr.clone(), store.clone(), dial.clone());
        within(async move {
            let io = dial(addr.host.clone(), addr.port).await?;
            Ok(connect_anonymous(&store.anchors(), &addr.target(), io).await?)
        })
    })
}

/// A lazy, reconnecting channel in the clear; only for loopback addresses without a name.
pub fn plaintext_channel(host: &str, port: u16, dial: impl Into<Dialler>) -> Channel {
    let Dialler { dial, connections } = dial.into();
    let host = host.to_owned();
    lazy(&authority(&host, port), connections, move || {
        within(dial(host.clone(), port))
    })
}

impl ControlAddr {
    fn target(&self) -> Target {
        Target {
            server_id: self.identity.clone(),
            server_name: None,
            transport_header: false,
        }
    }
}

fn lazy<C, F, I>(authority: &str, connections: Arc<Connections>, connect: C) -> Channel
where
    C: Fn() -> F + Send + 'static,
    F: Future<Output = io::Result<I>> + Send + 'static,
    I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    // The URI becomes `:authority` and nothing else; the connector knows where to go.
    let endpoint = Endpoint::from_shared(format!("http://{authority}"))
        .unwrap_or_else(|_| Endpoint::from_static("http://control-plane"));
    let connector = tower::service_fn(move |_: Uri| {
        let (connection, connecting) = (connections.begin(), connect());
        async move {
            let io = connecting.await?;
            io::Result::Ok(TokioIo::new(connection.made(io)))
        }
    });
    endpoint
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .connect_with_connector_lazy(connector)
}

async fn within<T>(connecting: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let timeout = |_| {
        Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the connection took too long",
        ))
    };
    tokio::time::timeout(CONNECT_TIMEOUT, connecting)
        .await
        .unwrap_or_else(timeout)
}

fn authority(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

#[cfg(test)]
mod tests;
