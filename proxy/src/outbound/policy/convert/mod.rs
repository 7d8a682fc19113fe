//! From the wire to the model. Total: no message panics, hangs or is half understood. A policy
//! with a mistake is [`Protocol::Invalid`] as a whole, naming the mistake, because following the
//! rest of it could send requests where nobody meant them to go.

mod backend;
mod http;
mod tcp;

use std::{sync::Arc, time::Duration};

use linkerd2_proxy_api::outbound as api;

use self::{
    backend::accrual,
    http::{grpc_routes, http_routes},
    tcp::{opaque_routes, tls_route},
};
use super::{Pauses, Policy, Protocol, names::object};
use crate::{config::LONGEST, http::route::Invalid, metrics::Object};

type Result<T> = std::result::Result<T, Invalid>;

/// The policy in `message`.
pub fn policy(message: api::OutboundPolicy) -> Policy {
    let parent = object(message.metadata.clone());
    let protocol = protocol(message, &parent).unwrap_or_else(|invalid| {
        tracing::warn!(%invalid, "the control plane sent a policy that cannot be followed");
        Protocol::Invalid(invalid.to_string())
    });
    Policy { parent, protocol }
}

fn protocol(message: api::OutboundPolicy, parent: &Arc<Object>) -> Result<Protocol> {
    use api::proxy_protocol::Kind;
    let protocol = message.protocol.ok_or(Invalid::Missing("protocol"))?;
    Ok(
        match protocol.kind.ok_or(Invalid::Missing("protocol kind"))? {
            Kind::Detect(detect) => {
                let http1 = detect.http1.ok_or(Invalid::Missing("detect.http1"))?;
                let http2 = detect.http2.ok_or(Invalid::Missing("detect.http2"))?;
                let opaque = detect.opaque.ok_or(Invalid::Missing("detect.opaque"))?;
                // The same endpoints serve all three, so they are judged by the same rules.
                let judged = accrual(http1.failure_accrual);
                Protocol::Detect {
                    http1: http_routes(parent, http1.routes, judged)?,
                    http2: http_routes(parent, http2.routes, accrual(http2.failure_accrual))?,
                    opaque: opaque_routes(parent, opaque, judged)?,
                }
            }
            Kind::Http1(http) => {
                let judged = accrual(http.failure_accrual);
                Protocol::Http1(http_routes(parent, http.routes, judged)?)
            }
            Kind::Http2(http) => {
                let judged = accrual(http.failure_accrual);
                Protocol::Http2(http_routes(parent, http.routes, judged)?)
            }
            Kind::Grpc(grpc) => {
                let judged = accrual(grpc.failure_accrual);
                Protocol::Http2(grpc_routes(parent, grpc.routes, judged)?)
            }
            Kind::Opaque(opaque) => Protocol::Opaque(opaque_routes(parent, opaque, None)?),
            Kind::Tls(tls) => {
                let routes = tls.routes.into_iter().map(|route| tls_route(parent, route));
                Protocol::Tls(routes.collect::<Result<_>>()?)
            }
        },
    )
}

/// Makes a [`super::Distribution`] of the messages of one kind of route: the API has a type of the
/// same shape for each kind.
macro_rules! distribution {
    ($kind:ident, $distribution:expr, $backend:expr) => {{
        use linkerd2_proxy_api::outbound::$kind::distribution::Kind;
        let missing = crate::http::route::Invalid::Missing;
        let distribution = $distribution.ok_or(missing("rule.backends"))?;
        match distribution.kind.ok_or(missing("distribution"))? {
            Kind::Empty(_) => crate::outbound::policy::Distribution::Empty,
            Kind::FirstAvailable(first) => {
                super::backend::first_available(first.backends, $backend)?
            }
            Kind::RandomAvailable(random) => {
                let backends = random.backends.into_iter().map(|b| (b.backend, b.weight));
                super::backend::random_available(backends, $backend)?
            }
        }
    }};
}
use distribution;

pub(super) use backend::path;

/// Durations that are absent, zero or negative set no limit; none is longer than [`LONGEST`].
pub fn duration(duration: Option<prost_types::Duration>) -> Option<Duration> {
    let duration = duration?;
    let seconds = u64::try_from(duration.seconds).ok()?;
    let nanos = u32::try_from(duration.nanos).ok()?.min(999_999_999);
    let duration = Duration::new(seconds, nanos).min(LONGEST);
    (!duration.is_zero()).then_some(duration)
}

/// Pauses of which anything may be missing.
fn pauses(backoff: api::ExponentialBackoff, least: Duration, most: Duration) -> Pauses {
    let min = duration(backoff.min_backoff).unwrap_or(least);
    Pauses {
        min,
        max: duration(backoff.max_backoff).unwrap_or(most).max(min),
        jitter_ppm: ppm(f64::from(backoff.jitter_ratio), 10.0),
    }
}

/// A ratio in millionths. Not a number is zero.
fn ppm(ratio: f64, most: f64) -> u32 {
    (ratio.clamp(0.0, most) * 1e6).round() as u32
}
