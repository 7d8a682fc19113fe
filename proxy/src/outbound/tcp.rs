//! One opaque connection: choose an endpoint, connect, copy both ways.
//!
//! Nothing of the client's bytes is sent before a connection is made, so every failed attempt is
//! repeated elsewhere until one succeeds or nobody is left.

use std::{sync::Arc, time::Duration};

use rand::RngExt;
use tokio::time::Instant;

use super::{
    Shared,
    backend::{Backend, Selected, Waiter, failfast, is_balanced, route_name, select},
    balance::{Balancer, Want, load::Pending},
    discover::Discovered,
    endpoint::live::EndpointId,
    policy::{Distribution, RouteKind},
    withdrawn::{self, SETTLED},
};
use crate::{
    Drain, Error,
    io::{BoxIo, Io, duplex},
};

/// Forwards `io` until both sides are done, or `drain` runs out of patience. `hostname` is what it
/// is counted by besides its route, if it is TLS.
pub(super) async fn forward(
    shared: &Shared,
    target: &Discovered,
    (distribution, hostname): (&Distribution<Backend>, &str),
    io: impl Io,
    drain: Option<&Drain>,
) -> Result<(), Error> {
    let route = route_name(distribution);
    let counted = route.map(|route| {
        let tls = route.kind == RouteKind::Tls;
        let metrics = &shared.metrics;
        metrics.outbound_connection(tls, (&route.parent, &route.route), hostname)
    });
    let forwarded = routed(shared, target, distribution, io, drain).await;
    if let Some(counted) = counted {
        counted.closed(&forwarded);
    }
    forwarded
}

async fn routed(
    shared: &Shared,
    target: &Discovered,
    distribution: &Distribution<Backend>,
    io: impl Io,
    drain: Option<&Drain>,
) -> Result<(), Error> {
    target.touch();
    let configured = shared.config.outbound.tcp_failfast_timeout;
    let failfast = failfast(distribution, configured);
    // Boxed, as what follows lasts longer and needs less.
    let connecting = Box::pin(connect(shared, target, distribution, failfast));
    let Connected {
        io: peer,
        import,
        _pending,
    } = connecting.await?;
    let aborted = async {
        match drain {
            Some(drain) => drain.aborted().await,
            None => std::future::pending().await,
        }
    };
    let (sent, received) = tokio::select! {
        biased;
        copied = duplex(io, peer) => copied?,
        () = aborted => return Err(Error::Shutdown),
        () = withdrawn(shared, import) => {
            return Err(Error::Unimported(target.name().to_owned()));
        }
    };
    tracing::debug!(sent, received, "connection ended");
    Ok(())
}

/// A connection to an endpoint.
struct Connected {
    io: BoxIo,
    /// The name it was made for, if another cluster serves that.
    import: Option<Arc<Balancer>>,
    _pending: Pending,
}

/// Completes when the name is imported no more, and connections are to end then.
async fn withdrawn(shared: &Shared, import: Option<Arc<Balancer>>) {
    let Some(import) = import else {
        return std::future::pending().await;
    };
    shared.directives.close_withdrawn().await;
    withdrawn::stands(import.denied(), |denied| *denied, SETTLED).await;
}

async fn connect(
    shared: &Shared,
    target: &Discovered,
    distribution: &Distribution<Backend>,
    failfast: Duration,
) -> Result<Connected, Error> {
    let started = Instant::now();
    let mut unreached: Vec<EndpointId> = Vec::new();
    let mut last = None;
    let balanced = is_balanced(distribution);
    // Made when first needed; then everything is looked at once more, so that no change is lost.
    let mut waiter: Option<Waiter> = None;
    loop {
        let want = Want {
            now: Instant::now(),
            avoid: &unreached,
            probe: true,
        };
        let (backend, endpoint) = match select(distribution, want, &[], || rand::rng().random()) {
            Selected::Endpoint(_, chosen, endpoint) => {
                let waited = waiter.as_ref().map(|waiter| waiter.since.elapsed());
                chosen.name.served(want.now, waited.unwrap_or_default());
                (&chosen.backend, endpoint)
            }
            Selected::Fail(error) => return Err(last.unwrap_or(error)),
            Selected::Nothing(_) if balanced => {
                let Some(waiter) = &mut waiter else {
                    let capacity = shared.config.outbound.tcp_queue_capacity;
                    waiter = Some(Waiter::new(distribution, capacity)?);
                    continue;
                };
                if !waiter.wait(waiter.deadline(started, failfast)).await {
                    return Err(last.unwrap_or_else(|| failed_fast(target)));
                }
                unreached.clear();
                continue;
            }
            Selected::Nothing(_) => return Err(last.unwrap_or_else(|| failed_fast(target))),
        };
        let pending = endpoint.begin();
        match endpoint.connect_opaque().await {
            Ok(io) => {
                endpoint.succeeded(Instant::now());
                let import = match backend {
                    Backend::Balancer(name) if endpoint.metadata.is_elsewhere() => Some(name),
                    _ => None,
                };
                return Ok(Connected {
                    io,
                    import: import.cloned(),
                    _pending: pending,
                });
            }
            Err(error) => {
                tracing::debug!(endpoint = %endpoint.addr, %error, "connecting failed");
                endpoint.unreachable(Instant::now());
                unreached.push(endpoint.id);
                shared.metrics.outbound_retry(target.name(), "connect");
                last = Some(error);
            }
        }
    }
}

fn failed_fast(target: &Discovered) -> Error {
    Error::FailFast(target.name().to_string())
}
