//! Who serves, by name, and how its endpoints are chosen and judged. Plain data that can be
//! compared: equal specs share one balancer.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use crate::outbound::endpoint::Metadata;

/// Who serves, by name.
#[derive(Clone, Debug, PartialEq)]
pub enum BackendSpec {
    /// Endpoints that discovery lists.
    Balancer(BalancerSpec),
    /// One endpoint.
    Forward(SocketAddr, Box<Metadata>),
    /// Nobody, and why.
    Fail(String),
}

/// A balancer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BalancerSpec {
    /// `name:port`, asked of `Destination.Get`.
    pub path: Arc<str>,
    /// Expected latency of an endpoint that was not measured yet.
    pub default_rtt: Duration,
    /// How fast old measurements fade.
    pub decay: Duration,
    /// What failures add to the measured latency, if the policy says so.
    pub penalty: Option<Penalty>,
    /// What takes an endpoint out, if the policy says so.
    pub accrual: Option<Accrual>,
    /// Who may wait for an endpoint, if the policy says so.
    pub queue: Option<Queue>,
}

/// Failures as latencies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Penalty {
    /// The least a failure counts as.
    pub least: Duration,
    /// The most a `Retry-After` counts as.
    pub most: Duration,
}

/// Which answers take an endpoint out, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Accrual {
    /// Failures in a row; `None`: however many.
    pub max_failures: Option<u32>,
    /// A share of failures.
    pub success_rate: Option<SuccessRate>,
    /// How long it is out.
    pub pauses: Pauses,
    /// Whether it is out at least as long as its `Retry-After` said.
    pub respect_retry_after: bool,
    /// Nobody is taken out if fewer than these are left.
    pub min_ready: usize,
}

/// The least share of successes over a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SuccessRate {
    /// In millionths.
    pub least_ppm: u32,
    /// How far back.
    pub window: Duration,
    /// Fewer requests than these say nothing.
    pub min_requests: u32,
}

/// Exponentially growing pauses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pauses {
    /// The first.
    pub min: Duration,
    /// The longest.
    pub max: Duration,
    /// What is added at random, as a share of the pause in millionths.
    pub jitter_ppm: u32,
}

/// Requests that wait for an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Queue {
    /// Most at once.
    pub capacity: usize,
    /// How long each.
    pub failfast: Duration,
}

impl BalancerSpec {
    /// A balancer of which only the name is known.
    pub fn named(path: Arc<str>) -> Self {
        Self {
            path,
            default_rtt: Self::DEFAULT_RTT,
            decay: Self::DECAY,
            penalty: None,
            accrual: None,
            queue: None,
        }
    }

    /// Expected latency where nobody says otherwise.
    pub const DEFAULT_RTT: Duration = Duration::from_millis(30);
    /// How fast measurements fade where nobody says otherwise.
    pub const DECAY: Duration = Duration::from_secs(10);
}

impl Pauses {
    /// The pause after `before` pauses; `chance` is between 0 and 1.
    pub fn after(&self, before: u32, chance: f64) -> Duration {
        let pause = self
            .min
            .saturating_mul(1 << before.min(16))
            .min(self.max.max(self.min));
        let jitter = f64::from(self.jitter_ppm) / 1e6;
        pause.mul_f64(1.0 + jitter.clamp(0.0, 10.0) * chance.clamp(0.0, 1.0))
    }
}
