//! Connections to the application.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

use super::{Inbound, policy::watch::Policies};
use crate::{
    Error, Runtime,
    config::{self, Config},
    http::client::{Client, Dial, Settings},
    io::boxed,
    metrics::{Counted, TransportMetrics},
};

/// How the workload's ports are reached, and the HTTP connections to them.
pub(super) struct Apps {
    config: Arc<Config>,
    transport: TransportMetrics,
    /// Told behind which ports somebody is.
    policies: Policies,
    clients: Mutex<HashMap<SocketAddr, (Arc<Client>, Instant)>>,
}

/// Ports come from clients, so what nobody uses is looked for beyond this many.
const MANY: usize = 64;

impl Apps {
    pub(super) fn new(runtime: &Runtime, policies: Policies) -> Self {
        Self {
            config: runtime.config.clone(),
            transport: runtime.metrics.inbound_connect(),
            policies,
            clients: Mutex::default(),
        }
    }

    /// A connection of its own.
    pub(super) async fn connect(&self, target: SocketAddr) -> Result<Counted<TcpStream>, Error> {
        let io = connect(target, &self.config.inbound).await?;
        self.policies.serves(target.port());
        Ok(self.transport.open(io))
    }

    /// The HTTP connections to a port. Hold the client for as long as responses may come.
    pub(super) fn client(&self, target: SocketAddr) -> Arc<Client> {
        let mut clients = self.clients.lock();
        if clients.len() >= MANY && !clients.contains_key(&target) {
            let idle = self.config.inbound.discovery_idle_timeout;
            clients
                .retain(|_, (client, used)| Arc::strong_count(client) > 1 || used.elapsed() < idle);
        }
        let (client, used) = clients
            .entry(target)
            .or_insert_with(|| (Arc::new(self.new_client(target)), Instant::now()));
        *used = Instant::now();
        client.clone()
    }

    fn new_client(&self, target: SocketAddr) -> Client {
        let (config, transport) = (self.config.clone(), self.transport.clone());
        let policies = self.policies.clone();
        let dial: Dial = Arc::new(move |_session| {
            let (config, transport) = (config.clone(), transport.clone());
            let policies = policies.clone();
            Box::pin(async move {
                let io = connect(target, &config.inbound).await?;
                policies.serves(target.port());
                Ok(boxed(transport.open(io)))
            })
        });
        let inbound = &self.config.inbound;
        let settings = Settings {
            h2: self.config.outbound.h2_client,
            // The application is next door: the system knows when it is gone.
            ping_interval: Duration::from_secs(60 * 60),
            ping_timeout: Duration::from_secs(20),
            ping_while_idle: false,
            idle_timeout: inbound.http1_pool_idle_timeout,
            h1_max_idle: inbound.max_idle_per_endpoint,
            max_requests: None,
            backoff: inbound.backoff,
            patience: inbound.failfast_timeout,
        };
        Client::new(dial, settings, Arc::new(|| {}))
    }
}

impl Inbound {
    /// Refuses targets that are listeners of this proxy. The outbound ones matter most: reached
    /// from here, they would speak for this workload.
    pub(super) fn refuse_own(&self, target: SocketAddr) -> Result<(), Error> {
        let ports = &self.0.ports;
        let own = ports.inbound == target.port()
            || ports.admin == target.port()
            || ports.outbound.contains(&target.port());
        match own {
            true => Err(Error::Loop(target)),
            false => Ok(()),
        }
    }
}

async fn connect(target: SocketAddr, config: &config::Inbound) -> Result<TcpStream, Error> {
    let timeout = config.connect_timeout;
    let io = mesh_daemon::net::connect(target, timeout)
        .await
        .map_err(|source| match source.kind() {
            io::ErrorKind::TimedOut => Error::ConnectTimeout {
                addr: target,
                timeout,
            },
            _ => Error::Connect {
                addr: target,
                source,
            },
        })?;
    let socket = SockRef::from(&io);
    if let Some(idle) = config.connect.keepalive {
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle))?;
    }
    #[cfg(target_os = "linux")]
    if let Some(timeout) = config.connect.user_timeout {
        socket.set_tcp_user_timeout(Some(timeout))?;
    }
    Ok(io)
}
