//! What the workload sends.
//!
//! The steps of a connection, each calling the next: [`accept`] (or [`explicit`]) finds its
//! target, [`discover`] what to do with it, then [`http`] request by request or [`tcp`] as a
//! whole: [`policy`] says which backends, [`backend`] chooses among them, [`balance`] among their
//! endpoints, [`endpoint`] connects. [`retry`] decides what a failure means. A gateway enters at
//! [`Outbound::discover_name`].

mod accept;
pub mod backend;
pub mod balance;
pub mod discover;
pub mod endpoint;
mod explicit;
mod http;
mod ingress;
pub mod policy;
pub mod replay;
pub mod retry;
mod tcp;
#[cfg(test)]
pub(crate) mod tests;
mod withdrawn;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use ::http::{Request, Response};
use mesh_daemon::net::{Listener, Resolver};
use serde_json::json;

use self::{
    backend::Backends,
    discover::Discovery,
    endpoint::Kit,
    http::{Origin, answer},
};
use crate::{
    Config, Drain, Error, Runtime, control::Control, directives::Directives, http::Body, io::BoxIo,
    metrics::Metrics,
};

pub use self::{discover::Discovered, withdrawn::SETTLED};

/// The outbound half. Cloned freely.
#[derive(Clone)]
pub struct Outbound(Arc<Shared>);

/// What every connection uses.
struct Shared {
    config: Arc<Config>,
    resolver: Resolver,
    metrics: Metrics,
    directives: Directives,
    discovery: Discovery,
    in_flight: AtomicUsize,
}

impl Outbound {
    /// Builds it; nothing is dialled before it is used. Call inside a runtime.
    pub fn new(runtime: &Runtime) -> Self {
        let control = Control::new(runtime);
        let config = &runtime.config;
        let backends = Backends::new(control.clone(), Kit::new(runtime));
        let idle_timeout = config.outbound.discovery_idle_timeout;
        let discovery = Discovery::new(control, backends, &config.destination, idle_timeout);
        Self(Arc::new(Shared {
            config: config.clone(),
            resolver: runtime.resolver.clone(),
            metrics: runtime.metrics.clone(),
            directives: runtime.directives.clone(),
            discovery,
            in_flight: AtomicUsize::new(0),
        }))
    }

    /// Whom it asks, for others who ask the same.
    pub(crate) fn control(&self) -> Control {
        self.0.discovery.control().clone()
    }

    /// Accepts until draining starts. Connections go on until they end, or drain aborts them.
    pub async fn serve(&self, listener: Listener, drain: Drain) {
        accept::serve(self.0.clone(), listener, drain).await;
    }

    /// Looks a name up as a gateway does; `None` if there is nothing of that name for us.
    pub async fn discover_name(&self, name: &str, port: u16) -> Result<Option<Discovered>, Error> {
        self.0.discovery.name(name, port).await
    }

    /// Answers one request for a discovered name. An error of a proxy on the way is marked as
    /// such in the response.
    pub async fn call(
        &self,
        target: &Discovered,
        request: Request<Body>,
    ) -> Result<Response<Body>, Error> {
        answer(&self.0, Origin::Gateway, target, request).await
    }

    /// What this half believes: its targets, and the endpoints of each name in use.
    pub fn state(&self) -> serde_json::Value {
        let balancers = self.0.discovery.backends().balancers();
        let balancers = balancers.iter().map(|balancer| {
            let endpoints = balancer.describe().into_iter();
            let endpoints = endpoints.map(|(addr, availability)| {
                json!({ "addr": addr.to_string(), "availability": format!("{availability:?}") })
            });
            json!({
                "path": &*balancer.spec.path,
                "endpoints": endpoints.collect::<Vec<_>>(),
            })
        });
        json!({
            "targets": self.0.discovery.describe(),
            "balancers": balancers.collect::<Vec<_>>(),
            "in_flight": self.0.in_flight.load(Ordering::Relaxed),
        })
    }

    /// Forwards one connection to a discovered name until it ends.
    pub async fn forward(&self, target: &Discovered, io: BoxIo) -> Result<(), Error> {
        let plan = target.plan()?;
        let to = plan.policy.opaque()?;
        tcp::forward(&self.0, target, (to, ""), io, None).await
    }
}

impl Shared {
    /// Counts a request as in flight until the guard is dropped.
    fn admit(&self) -> Result<Admitted<'_>, Error> {
        let before = self.in_flight.fetch_add(1, Ordering::Relaxed);
        let admitted = Admitted(&self.in_flight);
        if before >= self.config.outbound.max_in_flight {
            return Err(Error::LoadShed("too many requests in flight"));
        }
        Ok(admitted)
    }
}

struct Admitted<'a>(&'a AtomicUsize);

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
