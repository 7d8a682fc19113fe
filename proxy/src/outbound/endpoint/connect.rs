//! Connecting: TCP, mesh TLS, transport header, all within one deadline.

use std::{collections::BTreeSet, io, net::IpAddr, net::SocketAddr, sync::Arc, time::Duration};

use mesh_tls::Store;
use tokio::io::AsyncWriteExt;

use super::plan::Plan;
use crate::{
    Error, Runtime,
    config::Tcp,
    io::{BoxIo, ReadAhead, boxed},
};

/// Connects on behalf of every endpoint. Cloned freely.
#[derive(Clone)]
pub struct Connector(Arc<Inner>);

struct Inner {
    store: Store,
    timeout: Duration,
    tcp: Tcp,
    local_ips: Arc<BTreeSet<IpAddr>>,
    /// Loopback targets are for the `loopback` network only: elsewhere whatever points there would
    /// reach this very pod, past its inbound policy.
    loopback: bool,
}

impl Connector {
    /// As configured.
    pub fn new(runtime: &Runtime) -> Self {
        let outbound = &runtime.config.outbound;
        Self(Arc::new(Inner {
            store: runtime.store.clone(),
            timeout: outbound.connect_timeout,
            tcp: outbound.connect,
            local_ips: outbound.local_ips.clone(),
            loopback: runtime.config.loopback.is_some(),
        }))
    }

    /// Whether `ip` is this pod.
    pub fn is_local(&self, ip: IpAddr) -> bool {
        self.0.local_ips.contains(&ip)
    }

    /// Connects as planned. The server has proven its identity, and the header is written, when
    /// this returns.
    pub async fn connect(&self, plan: &Plan) -> Result<BoxIo, Error> {
        let addr = plan.dial;
        let timeout = self.0.timeout;
        // A handshake's state is large; boxed, it is gone once the connection carries data.
        tokio::time::timeout(timeout, Box::pin(self.connect_unbounded(plan)))
            .await
            .unwrap_or(Err(Error::ConnectTimeout { addr, timeout }))
    }

    async fn connect_unbounded(&self, plan: &Plan) -> Result<BoxIo, Error> {
        let addr = plan.dial;
        let failed = |source| Error::Connect { addr, source };
        if addr.ip().is_loopback() && !self.0.loopback {
            let refusal = "endpoints on a loopback address are refused";
            return Err(failed(io::Error::new(
                io::ErrorKind::ConnectionRefused,
                refusal,
            )));
        }
        let tcp = mesh_daemon::net::connect(addr, self.0.timeout)
            .await
            .map_err(|error| match error.kind() {
                io::ErrorKind::TimedOut => Error::ConnectTimeout {
                    addr,
                    timeout: self.0.timeout,
                },
                _ => failed(error),
            })?;
        tune(&tcp, &self.0.tcp, addr);
        let Some(target) = &plan.tls else {
            return Ok(boxed(tcp));
        };
        let tcp = ReadAhead::new(tcp);
        let mut tls = mesh_tls::reconnect(&self.0.store, target, addr, tcp).await?;
        if let Some(header) = plan.header.as_ref().filter(|_| tls.transport_header()) {
            tls.write_all(&header.encode()).await.map_err(failed)?;
            tls.flush().await.map_err(failed)?;
        } else if plan.header.as_ref().is_some_and(|h| h.name.is_some()) {
            // Without the header a gateway would take the bytes for its own.
            let refusal = "the gateway did not accept the transport header";
            return Err(failed(io::Error::new(io::ErrorKind::Unsupported, refusal)));
        }
        Ok(boxed(tls))
    }
}

/// Sets socket options; a socket without them still works.
pub fn tune(tcp: &tokio::net::TcpStream, options: &Tcp, addr: SocketAddr) {
    let socket = socket2::SockRef::from(tcp);
    if let Some(idle) = options.keepalive
        && let Err(error) = socket.set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(idle))
    {
        tracing::debug!(%addr, %error, "cannot set TCP keep-alive");
    }
    if options.user_timeout.is_some()
        && let Err(error) = socket.set_tcp_user_timeout(options.user_timeout)
    {
        tracing::debug!(%addr, %error, "cannot set the TCP user timeout");
    }
}
