//! Backends: who they are, how they share, what takes their endpoints out.

use std::{sync::Arc, time::Duration};

use linkerd2_proxy_api::outbound as api;

use super::{Result, duration, pauses, ppm};
use crate::{
    http::route::Invalid,
    metrics::Object,
    outbound::{
        endpoint,
        policy::{
            Accrual, BackendSpec, BalancerSpec, Distribution, Penalty, Queue, RouteBackend,
            SuccessRate, names::object,
        },
    },
};

/// Time out of rotation where the policy names none.
const EJECTED: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// What a failure counts as where the policy names nothing.
const PENALTY: Duration = Duration::from_secs(5);
/// The longest `Retry-After` believed where the policy names none.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);
/// The window of a success rate where the policy names none.
const WINDOW: Duration = Duration::from_secs(10);

pub(super) fn accrual(accrual: Option<api::FailureAccrual>) -> Option<Accrual> {
    use api::failure_accrual::Kind;
    let accrual = accrual?;
    let min_ready = accrual.ejection.map_or(0, |e| e.min_ready_endpoints);
    // A kind nobody knows yet is no reason to refuse traffic.
    let kind = accrual.kind?;
    let (max, success_rate, backoff) = match kind {
        Kind::ConsecutiveFailures(kind) => (kind.max_failures, None, kind.backoff),
        Kind::Unified(kind) => {
            let least_ppm = ppm(kind.success_rate_threshold, 1.0);
            let rate = (least_ppm > 0).then_some(SuccessRate {
                least_ppm,
                window: duration(kind.decay).unwrap_or(WINDOW),
                min_requests: kind.min_requests.max(1),
            });
            (kind.max_consecutive_failures, rate, kind.backoff)
        }
    };
    let backoff = backoff.unwrap_or_default();
    Some(Accrual {
        max_failures: (max > 0).then_some(max),
        success_rate,
        respect_retry_after: backoff.respect_retry_after_hint,
        pauses: pauses(backoff, EJECTED.0, EJECTED.1),
        min_ready: usize::try_from(min_ready).unwrap_or(usize::MAX),
    })
}

pub(super) fn first_available<B>(
    backends: Vec<B>,
    convert: impl Fn(B) -> Result<RouteBackend>,
) -> Result<Distribution> {
    if backends.is_empty() {
        return Err(Invalid::Missing("first_available.backends"));
    }
    let backends = backends.into_iter().map(convert).collect::<Result<_>>()?;
    Ok(Distribution::FirstAvailable(backends))
}

pub(super) fn random_available<B>(
    backends: impl Iterator<Item = (Option<B>, u32)>,
    convert: impl Fn(B) -> Result<RouteBackend>,
) -> Result<Distribution> {
    let one = |(backend, weight): (Option<B>, u32)| {
        let backend = backend.ok_or(Invalid::Missing("backend"))?;
        Ok((convert(backend)?, weight))
    };
    let backends = backends.map(one).collect::<Result<Vec<_>>>()?;
    if backends.is_empty() {
        return Err(Invalid::Missing("random_available.backends"));
    }
    Ok(weighted(backends))
}

/// A weight of zero means none of the traffic, unless it is all there is.
fn weighted(mut backends: Vec<(RouteBackend, u32)>) -> Distribution {
    if backends.iter().any(|(_, weight)| *weight > 0) {
        backends.retain(|(_, weight)| *weight > 0);
    } else {
        backends.iter_mut().for_each(|(_, weight)| *weight = 1);
    }
    Distribution::RandomAvailable(backends)
}

/// What metrics call a backend.
pub(super) fn backend_object(backend: &Option<api::Backend>) -> Arc<Object> {
    object(
        backend
            .as_ref()
            .and_then(|backend| backend.metadata.clone()),
    )
}

pub(super) fn backend_spec(
    backend: Option<api::Backend>,
    accrual: Option<Accrual>,
) -> Result<BackendSpec> {
    use api::backend::Kind;
    let backend = backend.ok_or(Invalid::Missing("backend"))?;
    match backend.kind {
        None => Ok(BackendSpec::Fail(
            "the backend of this route does not exist".to_owned(),
        )),
        Some(Kind::Forward(addr)) => {
            let (addr, metadata) = endpoint::convert(&Default::default(), addr)
                .map_err(|error| Invalid::Bad("forward", error))?;
            Ok(BackendSpec::Forward(addr, Box::new(metadata)))
        }
        Some(Kind::Balancer(proto)) => Ok(BackendSpec::Balancer(BalancerSpec {
            accrual,
            queue: backend.queue.and_then(queue),
            ..balancer(proto)?
        })),
    }
}

fn balancer(balancer: api::backend::BalanceP2c) -> Result<BalancerSpec> {
    use api::backend::{balance_p2c::Load, endpoint_discovery};
    let discovery = balancer.discovery.and_then(|d| d.kind);
    let endpoint_discovery::Kind::Dst(dst) =
        discovery.ok_or(Invalid::Missing("balancer.discovery"))?;
    let (default_rtt, decay, penalty) = match balancer.load {
        Some(Load::PeakEwma(load)) => (load.default_rtt, load.decay, None),
        Some(Load::PenaltyPeakEwma(load)) => {
            let penalty = Penalty {
                least: duration(load.penalty).unwrap_or(PENALTY),
                most: duration(load.max_retry_after).unwrap_or(MAX_RETRY_AFTER),
            };
            (load.default_rtt, load.decay, Some(penalty))
        }
        None => (None, None, None),
    };
    Ok(BalancerSpec {
        default_rtt: duration(default_rtt).unwrap_or(BalancerSpec::DEFAULT_RTT),
        decay: duration(decay).unwrap_or(BalancerSpec::DECAY),
        penalty,
        ..BalancerSpec::named(path(&dst.path)?)
    })
}

/// A queue of no length or no time is none the control plane means.
fn queue(queue: api::Queue) -> Option<Queue> {
    Some(Queue {
        capacity: usize::try_from(queue.capacity).ok().filter(|n| *n > 0)?,
        failfast: duration(queue.failfast_timeout)?,
    })
}

/// `name:port` with a port that exists.
pub(in crate::outbound::policy) fn path(path: &str) -> Result<Arc<str>> {
    let bad = || Invalid::Bad("balancer path", format!("{path:?} is not name:port"));
    let (name, port) = path.rsplit_once(':').ok_or_else(bad)?;
    let port: u16 = port.parse().map_err(|_| bad())?;
    if name.is_empty() || port == 0 || name.len() > 253 {
        return Err(bad());
    }
    Ok(path.into())
}
