//! Keeps the policies of ports fresh.
//!
//! One task per port follows `WatchPort`; connections hold receivers. Until the control plane has
//! answered, and while it does not know the workload, the configured default holds. Later the last
//! answer holds, however long the control plane is away.

use std::{sync::Arc, time::Duration};

use linkerd2_proxy_api::inbound::{
    PortSpec, Server, inbound_server_policies_client::InboundServerPoliciesClient,
};
use mesh_daemon::Shutdown;
use parking_lot::Mutex;
use tokio::sync::watch;
use tracing::Instrument;

use super::{ServerPolicy, ports::Ports};
use crate::{
    Error,
    config::Config,
    control::{Channel, Event, MAX_MESSAGE, follow},
};

/// A policy as connections see it: read it, wait for the next one.
pub type Receiver = watch::Receiver<Arc<ServerPolicy>>;

/// The policies of every port asked for so far. Cloned freely.
#[derive(Clone)]
pub struct Policies(Arc<Inner>);

struct Inner {
    config: Arc<Config>,
    client: InboundServerPoliciesClient<Channel>,
    ports: Mutex<Ports>,
    shutdown: Shutdown,
}

/// How long the first connection to a port waits for the control plane before the default holds.
const FIRST_ANSWER: Duration = Duration::from_secs(1);

impl Policies {
    /// Asks through `channel` once something is watched.
    pub fn new(config: Arc<Config>, channel: Channel, shutdown: Shutdown) -> Self {
        Self(Arc::new(Inner {
            config,
            client: InboundServerPoliciesClient::new(channel)
                .max_decoding_message_size(MAX_MESSAGE),
            ports: Mutex::default(),
            shutdown,
        }))
    }

    /// Starts watching `port` and keeps doing so, whatever clients ask for.
    pub fn watch_forever(&self, port: u16) {
        let mut ports = self.0.ports.lock();
        if ports.get(port).is_none() {
            self.start(&mut ports, port);
        }
        ports.keep(port);
    }

    /// Somebody was met behind `port`: it is more than a number that a client named.
    pub fn serves(&self, port: u16) {
        self.0.ports.lock().serves(port);
    }

    /// The policy of `port`, as fresh as it can be had within a moment.
    pub async fn port(&self, port: u16) -> Result<Receiver, Error> {
        let (policy, mut heard) = self.entry(port)?;
        let _ = heard.wait_for(|heard| *heard).await;
        match policy.has_changed() {
            Ok(_) => Ok(policy),
            Err(_) => Err(given_up()),
        }
    }

    /// The policy of `port` without waiting for anything.
    pub fn port_now(&self, port: u16) -> Result<Receiver, Error> {
        self.entry(port).map(|(policy, _)| policy)
    }

    fn entry(&self, port: u16) -> Result<(Receiver, watch::Receiver<bool>), Error> {
        let mut ports = self.0.ports.lock();
        if let Some(known) = ports.get(port) {
            return Ok(known);
        }
        if !ports.make_room() {
            return Err(Error::LoadShed("too many ports are being watched"));
        }
        Ok(self.start(&mut ports, port))
    }

    fn start(&self, ports: &mut Ports, port: u16) -> (Receiver, watch::Receiver<bool>) {
        let default = ServerPolicy::default_for(port, &self.0.config.inbound);
        let policy = Arc::new(watch::Sender::new(Arc::new(default)));
        let (heard_tx, heard) = watch::channel(false);
        let receiver = policy.subscribe();
        let watcher = self.clone().run(port, policy.clone(), heard_tx);
        let task = tokio::spawn(watcher.instrument(tracing::info_span!("policy", port)));
        ports.insert(port, policy, heard.clone(), task.abort_handle());
        (receiver, heard)
    }

    /// Follows the control plane until nobody has used the port for a while, or shutdown.
    async fn run(
        self,
        port: u16,
        policy: Arc<watch::Sender<Arc<ServerPolicy>>>,
        heard: watch::Sender<bool>,
    ) {
        let config = &self.0.config.policy;
        let open = || {
            let mut client = self.0.client.clone();
            let spec = PortSpec {
                workload: config.workload.to_string(),
                port: port.into(),
            };
            async move { client.watch_port(spec).await }
        };
        let follow = follow(
            "inbound policy",
            config.limits,
            config.backoff,
            open,
            |event| {
                learn(event, &policy);
                heard.send_replace(true);
            },
        );
        let patience = async {
            tokio::time::sleep(FIRST_ANSWER).await;
            heard.send_replace(true);
            std::future::pending::<()>().await
        };
        tokio::select! {
            () = follow => {}
            () = patience => {}
            () = self.unused(port) => tracing::debug!("policy is not used any more"),
            // Connections that drain keep the last policy, which the table holds.
            () = self.0.shutdown.requested() => {}
        }
    }

    /// Completes, with the entry removed, once the port was not used for the configured time.
    async fn unused(&self, port: u16) {
        let idle = self.0.config.inbound.discovery_idle_timeout;
        let mut was_idle = false;
        loop {
            tokio::time::sleep(idle).await;
            let mut ports = self.0.ports.lock();
            if was_idle && ports.forget_unused(port) {
                return;
            }
            was_idle = ports.is_unused(port);
        }
    }
}

/// What a connection ends with whose policy is not watched any more.
pub(in crate::inbound) fn given_up() -> Error {
    Error::LoadShed("too many ports are asked for, and nobody was met behind this one")
}

fn learn(event: Event<Server>, policy: &watch::Sender<Arc<ServerPolicy>>) {
    let server = match event {
        Event::Message { message, .. } => message,
        Event::Refused(status) => {
            tracing::debug!(code = ?status.code(), "the control plane knows no policy; keeping ours");
            return;
        }
    };
    match ServerPolicy::try_from(server) {
        Ok(fresh) => {
            tracing::debug!(?fresh, "policy");
            policy.send_replace(Arc::new(fresh));
        }
        // Looser or stricter would both be guesses.
        Err(error) => tracing::warn!(%error, "policy cannot be followed; keeping the last one"),
    }
}
