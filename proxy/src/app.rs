//! The sidecar as a whole: build, bind, serve, drain.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use mesh_daemon::{
    Shutdown,
    drain::drain,
    net::{Listener, Resolver},
    readiness::{self, Readiness},
};
use mesh_tls::Store;

use crate::{
    Config, Error, admin, control,
    directives::Directives,
    identity,
    inbound::{Inbound, OwnPorts, gateway::Gateway, policy::watch::Policies},
    metrics::{ControlClient, Metrics},
    outbound::Outbound,
    witness::{
        Witnesses,
        access_log::AccessLog,
        tap,
        trace::{Exporter, Tracer},
    },
};

/// What both halves share. Cloned freely.
#[derive(Clone)]
pub struct Runtime {
    /// What the sidecar was told.
    pub config: Arc<Config>,
    /// Its identity.
    pub store: Store,
    /// What it counts.
    pub metrics: Metrics,
    /// How it finds control-plane addresses.
    pub resolver: Resolver,
    /// Who watches its requests.
    pub witnesses: Witnesses,
    /// What the control plane says beyond policies.
    pub directives: Directives,
}

/// A sidecar that is not listening yet.
pub struct Proxy {
    runtime: Runtime,
    outbound: Outbound,
    gateway: Option<Arc<dyn Gateway>>,
    exporter: Option<Exporter>,
}

/// A sidecar whose sockets are bound.
pub struct Bound {
    /// Where the workload's calls go.
    pub outbound: Vec<SocketAddr>,
    /// Where peers connect.
    pub inbound: SocketAddr,
    /// Where the admin server answers.
    pub admin: SocketAddr,
    /// Where taps are asked for.
    pub tap: Option<SocketAddr>,
    /// Whether it serves: it does once it has a certificate, until it is told to stop.
    pub readiness: Readiness,
    certificate: readiness::Guard,
    proxy: Proxy,
    listeners: Listeners,
}

struct Listeners {
    outbound: Vec<Listener>,
    inbound: Listener,
    admin: Listener,
    tap: Option<Listener>,
}

impl Proxy {
    /// Builds the sidecar; call inside a runtime. Nothing listens or dials yet.
    pub fn new(config: Config) -> Result<Self, Error> {
        tracing::debug!(?config, "configuration");
        let observe = &config.observe;
        let (tracer, exporter) = observe.trace.as_ref().map(|_| Tracer::new()).unzip();
        let access_log = observe.access_log.map(AccessLog::stderr);
        let runtime = Runtime {
            witnesses: Witnesses::new(access_log, tracer),
            store: identity::store(&config.identity)?,
            metrics: Metrics::new(config.admin.metrics_retain_idle),
            resolver: Resolver::from_env(),
            directives: Directives::default(),
            config: Arc::new(config),
        };
        Ok(Self {
            outbound: Outbound::new(&runtime),
            runtime,
            gateway: None,
            exporter,
        })
    }

    /// What both halves share.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// The outbound half, for a gateway to route with.
    pub fn outbound(&self) -> Outbound {
        self.outbound.clone()
    }

    /// Makes the sidecar a gateway.
    pub fn with_gateway(mut self, gateway: Arc<dyn Gateway>) -> Self {
        self.gateway = Some(gateway);
        self
    }

    /// Binds every listener.
    pub async fn bind(self) -> io::Result<Bound> {
        let config = &self.runtime.config;
        let admin = bind("admin", config.admin.listen).await?;
        let inbound = bind("inbound", config.inbound.listen).await?;
        let mut outbound = Vec::new();
        for addr in &config.outbound.listen {
            outbound.push(bind("outbound", *addr).await?);
        }
        let tap = match &config.observe.tap {
            Some(tap) => Some(bind("tap", tap.listen).await?),
            None => None,
        };
        if inbound.succeeds() {
            tracing::info!(
                "another proxy listens here already: it keeps its connections, and gets new ones \
                 until this one is ready; stop it then"
            );
        }
        let addrs: io::Result<_> = outbound.iter().map(Listener::local_addr).collect();
        let readiness = Readiness::new();
        Ok(Bound {
            certificate: readiness.guard("certificate"),
            readiness,
            outbound: addrs?,
            inbound: inbound.local_addr()?,
            admin: admin.local_addr()?,
            tap: tap.as_ref().map(Listener::local_addr).transpose()?,
            proxy: self,
            listeners: Listeners {
                outbound,
                inbound,
                admin,
                tap,
            },
        })
    }
}

impl Bound {
    /// Serves until `shutdown` (or the admin server's), then drains up to the configured grace.
    pub async fn serve(self, shutdown: Shutdown) -> Result<(), Error> {
        let Proxy {
            runtime,
            outbound,
            gateway,
            exporter,
        } = self.proxy;
        let (readiness, certificate) = (self.readiness, self.certificate);
        let (trigger, stop) = mesh_daemon::shutdown();
        let (drainer, drain) = drain();
        let admin = admin::admin(
            &runtime,
            outbound.clone(),
            readiness.clone(),
            trigger.clone(),
        );
        let config = runtime.config.clone();
        let ports = OwnPorts {
            inbound: self.inbound.port(),
            outbound: self.outbound.iter().map(SocketAddr::port).collect(),
            admin: self.admin.port(),
        };
        let channel = control::channel(
            ControlClient::Policy,
            &config.policy.addr,
            &runtime.store,
            &runtime.resolver,
            &runtime.metrics,
        );
        let policies = Policies::new(config.clone(), channel.clone(), stop.clone());
        let directives = AbortOnDrop(tokio::spawn({
            let (directives, config) = (runtime.directives.clone(), config.clone());
            async move { directives.follow(channel.uncounted(), &config.policy).await }
        }));
        let inbound = {
            let (runtime, control) = (runtime.clone(), outbound.control());
            Inbound::new(runtime, policies, control, gateway, admin, ports)
        };
        // Probes are answered from the first moment to the last; where another process is to be
        // replaced, they ask from now on whether this one is ready to.
        let admin = {
            let (inbound, drain) = (inbound.clone(), drain.clone());
            let listener = self.listeners.admin;
            listener.take();
            AbortOnDrop(tokio::spawn(async move {
                inbound.serve_admin(listener, drain).await;
            }))
        };
        let watching = watching(&runtime, self.listeners.tap, exporter, &stop);
        let certify = identity::run(
            config.identity.clone(),
            runtime.store.clone(),
            runtime.resolver.clone(),
            runtime.metrics.clone(),
            stop.clone(),
        );
        let certify = AbortOnDrop(tokio::spawn(certify));
        tokio::spawn({
            let stop = stop.clone();
            async move {
                tokio::select! {
                    () = shutdown.requested() => trigger.shutdown(),
                    () = stop.requested() => {}
                }
            }
        });
        // Whoever connects before there is an identity waits in the backlog, or is served by the
        // process that is to be replaced.
        tokio::select! {
            () = certified(&runtime) => {
                drop(certificate);
                let listener = self.listeners.inbound;
                listener.take();
                let (serve, drain_in) = (inbound.clone(), drain.clone());
                tokio::spawn(async move { serve.serve(listener, drain_in).await });
                for listener in self.listeners.outbound {
                    listener.take();
                    let (serve, drain_out) = (outbound.clone(), drain.clone());
                    tokio::spawn(async move { serve.serve(listener, drain_out).await });
                }
                tracing::info!(id = %runtime.store.id(), "serving");
                stop.requested().await;
            }
            () = stop.requested() => {}
        }
        let _stopping = readiness.guard("shutdown");
        let grace = config.shutdown_grace;
        tracing::info!(?grace, "draining");
        let drained = drainer.drain(grace).await;
        tracing::info!(aborted = drained.aborted, "stopped");
        drop((admin, certify, directives, watching));
        Ok(())
    }
}

/// What serves those who watch: taps, and the trace collector.
fn watching(
    runtime: &Runtime,
    listener: Option<Listener>,
    exporter: Option<Exporter>,
    stop: &Shutdown,
) -> Vec<AbortOnDrop> {
    let observe = &runtime.config.observe;
    let mut tasks = Vec::new();
    if let (Some(config), Some(listener)) = (&observe.tap, listener) {
        let taps = runtime.witnesses.taps().clone();
        let (store, client) = (runtime.store.clone(), config.client.clone());
        let serve = tap::server::run(listener.into_taken(), store, client, taps, stop.clone());
        tasks.push(AbortOnDrop(tokio::spawn(serve)));
    }
    if let (Some(config), Some(exporter)) = (&observe.trace, exporter) {
        let channel = control::channel(
            ControlClient::Trace,
            &config.addr,
            &runtime.store,
            &runtime.resolver,
            &runtime.metrics,
        );
        let export = exporter.run(config.clone(), channel, stop.clone());
        tasks.push(AbortOnDrop(tokio::spawn(export)));
    }
    tasks
}

/// Waits for the first certificate, saying so from time to time; and a moment for who is denied.
async fn certified(runtime: &Runtime) {
    const REMIND: Duration = Duration::from_secs(15);
    const DIRECTIVES: Duration = Duration::from_secs(1);
    let store = &runtime.store;
    while tokio::time::timeout(REMIND, store.ready()).await.is_err() {
        tracing::warn!(id = %store.id(), "still waiting for the first certificate; nothing is accepted until then");
    }
    runtime.directives.first_answer(DIRECTIVES).await;
}

async fn bind(what: &str, addr: SocketAddr) -> io::Result<Listener> {
    Listener::bind(addr).await.map_err(|error| {
        let text = format!("cannot listen on {addr} ({what}): {error}");
        io::Error::new(error.kind(), text)
    })
}

/// A task that ends with its owner.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
