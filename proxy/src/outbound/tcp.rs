//! One opaque connection: choose an endpoint, connect, copy both ways.
//!
//! Nothing of the client's bytes is sent before a connection is made, so every failed attempt is
//! repeated elsewhere until one succeeds or nobody is left.

use std::time::Duration;

use rand::RngExt;
use tokio::time::Instant;

use super::{
    Shared,
    backend::{Backend, Selected, Waiter, failfast, is_balanced, select},
    balance::Want,
    discover::Discovered,
    endpoint::live::EndpointId,
    policy::Distribution,
};
use crate::{
    Drain, Error,
    io::{BoxIo, Io, duplex},
};

/// Forwards `io` until both sides are done, or `drain` runs out of patience.
pub(super) async fn forward(
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
    let (peer, _pending) = connecting.await?;
    let copied = duplex(io, peer);
    let (sent, received) = match drain {
        Some(drain) => tokio::select! {
            copied = copied => copied?,
            () = drain.aborted() => return Err(Error::Shutdown),
        },
        None => copied.await?,
    };
    tracing::debug!(sent, received, "connection ended");
    Ok(())
}

async fn connect(
    shared: &Shared,
    target: &Discovered,
    distribution: &Distribution<Backend>,
    failfast: Duration,
) -> Result<(BoxIo, super::balance::load::Pending), Error> {
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
        let endpoint = match select(distribution, want, &[], || rand::rng().random()) {
            Selected::Endpoint(_, _, endpoint) => endpoint,
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
                return Ok((io, pending));
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
