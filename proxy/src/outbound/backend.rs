//! Live backends, and the choice between those of a route.
//!
//! [`Backends`] turns the specs of a policy into balancers and forwards, sharing what is equal;
//! [`select`] walks a distribution once and says where a request goes now, or that it should
//! wait. Waiting itself is [`Waiter`]'s.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::{
    balance::{Balancer, Pick, RECHECK, Waiting, Want, health::Health, load::Load},
    endpoint::{Endpoint, Kit, Metadata, live::EndpointId},
    policy::{BackendSpec, BalancerSpec, Distribution, Policy, RouteBackend, RouteName},
};
use crate::{Error, control::Control};

/// A backend that can be asked for an endpoint.
#[derive(Clone)]
pub enum Backend {
    /// One of many.
    Balancer(Arc<Balancer>),
    /// The only one; used whatever its health.
    Forward(Arc<Endpoint>),
    /// None, and why.
    Fail(Arc<str>),
}

/// Makes live backends. Cloned freely.
#[derive(Clone)]
pub struct Backends {
    control: Control,
    kit: Kit,
    balancers: Arc<Mutex<HashMap<BalancerSpec, Weak<Balancer>>>>,
}

impl Backends {
    /// None yet.
    pub fn new(control: Control, kit: Kit) -> Self {
        Self {
            control,
            kit,
            balancers: Arc::default(),
        }
    }

    /// The policy of `target` with its backends alive. Backends that live already are shared.
    pub fn enliven(&self, target: &str, policy: Policy) -> Policy<Backend> {
        policy.map(&mut |spec, name| {
            let backend = self.backend(spec);
            if let Backend::Balancer(balancer) = &backend {
                name.show(
                    &self.kit.metrics,
                    (target, &balancer.spec.path),
                    balancer.source(),
                );
            }
            backend
        })
    }

    /// The live backend of a spec.
    pub fn backend(&self, spec: BackendSpec) -> Backend {
        match spec {
            BackendSpec::Balancer(spec) => Backend::Balancer(self.balancer(spec)),
            BackendSpec::Forward(addr, metadata) => self.forward(addr, *metadata),
            BackendSpec::Fail(why) => Backend::Fail(why.into()),
        }
    }

    /// A backend of one endpoint.
    pub fn forward(&self, addr: SocketAddr, metadata: Metadata) -> Backend {
        let now = Instant::now();
        Backend::Forward(Arc::new(Endpoint::new(
            &self.kit,
            addr.to_string().into(),
            (addr, metadata),
            Load::new(BalancerSpec::DEFAULT_RTT, BalancerSpec::DECAY, None, now),
            Health::alone(),
            Arc::new(|| {}),
        )))
    }

    fn balancer(&self, spec: BalancerSpec) -> Arc<Balancer> {
        let mut balancers = self.balancers.lock();
        if let Some(balancer) = balancers.get(&spec).and_then(Weak::upgrade) {
            return balancer;
        }
        balancers.retain(|_, balancer| balancer.strong_count() > 0);
        let balancer = Arc::new(Balancer::spawn(
            spec.clone(),
            self.control.clone(),
            self.kit.clone(),
        ));
        balancers.insert(spec, Arc::downgrade(&balancer));
        balancer
    }

    /// Every balancer in use.
    pub fn balancers(&self) -> Vec<Arc<Balancer>> {
        let balancers = self.balancers.lock();
        balancers.values().filter_map(Weak::upgrade).collect()
    }
}

impl Backend {
    fn pick(&self, want: Want<'_>) -> Pick {
        match self {
            Self::Balancer(balancer) => balancer.pick(want),
            Self::Forward(endpoint) if want.avoid.contains(&endpoint.id) => Pick::Unavailable,
            Self::Forward(endpoint) => Pick::Endpoint(endpoint.clone()),
            Self::Fail(_) => Pick::Unavailable,
        }
    }

    fn share(&self, now: Instant) -> f64 {
        match self {
            Self::Balancer(balancer) => balancer.share(now),
            Self::Forward(_) | Self::Fail(_) => 1.0,
        }
    }

    /// Keeps HTTP/2 connections to its endpoints.
    pub fn warm(&self) {
        if let Self::Balancer(balancer) = self {
            balancer.warm();
        }
    }
}

/// What a walk over a distribution found.
pub enum Selected<'a> {
    /// An endpoint, of the backend with this index.
    Endpoint(usize, &'a RouteBackend<Backend>, Arc<Endpoint>),
    /// Nothing now, and why.
    Nothing(Nothing),
    /// The route leads nowhere.
    Fail(Error),
}

/// Why a walk found nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nothing {
    /// Somebody is about to be able to serve.
    Pending,
    /// Nobody can.
    Unavailable,
    /// Discovery says that there is nobody at all.
    Empty,
}

/// Where a request goes now. `avoid` names backends it must not go to, by index; `chance` gives
/// random numbers in `0.0..1.0`.
pub fn select<'a>(
    distribution: &'a Distribution<Backend>,
    want: Want<'_>,
    avoid: &[usize],
    mut chance: impl FnMut() -> f64,
) -> Selected<'a> {
    match distribution {
        Distribution::Empty => Selected::Fail(Error::LoadShed("the route has no backends")),
        Distribution::FirstAvailable(backends) => {
            let ordered = backends.iter().enumerate();
            walk(ordered.filter(|(i, _)| !avoid.contains(i)), want, |share| {
                share >= 1.0 || chance() < share
            })
        }
        Distribution::RandomAvailable(backends) => {
            let ordered = shuffle(backends, &mut chance).into_iter();
            // Their shares are the weights.
            walk(ordered.filter(|(i, _)| !avoid.contains(i)), want, |_| true)
        }
    }
}

/// `takes` decides whether a backend gets this request, given its share.
fn walk<'a>(
    ordered: impl Iterator<Item = (usize, &'a RouteBackend<Backend>)>,
    want: Want<'_>,
    mut takes: impl FnMut(f64) -> bool,
) -> Selected<'a> {
    let mut returning = None;
    let mut nothing = Nothing::Empty;
    let mut fail = None;
    for (index, backend) in ordered {
        match (backend.backend.pick(want), &backend.backend) {
            (Pick::Endpoint(endpoint), _) => {
                if takes(backend.backend.share(want.now)) {
                    return Selected::Endpoint(index, backend, endpoint);
                }
                // It came back a moment ago: the next one keeps most of the traffic.
                returning.get_or_insert((index, backend, endpoint));
            }
            // A preferred backend that is about to answer is worth a moment, unless another
            // preferred one could serve already.
            (Pick::Pending, _) => {
                nothing = Nothing::Pending;
                break;
            }
            (Pick::Unavailable, Backend::Fail(why)) => fail = Some(why),
            (Pick::Unavailable, _) => nothing = Nothing::Unavailable,
            (Pick::Empty, _) => {}
        }
    }
    match (returning, fail) {
        (Some((index, backend, endpoint)), _) => Selected::Endpoint(index, backend, endpoint),
        (None, Some(why)) if nothing == Nothing::Empty => {
            Selected::Fail(Error::Fail(why.to_string()))
        }
        (None, _) => Selected::Nothing(nothing),
    }
}

/// Indices and backends in a random order in which heavy ones tend to come first: the first that
/// can serve is then chosen by weight among those that can.
fn shuffle<'a>(
    backends: &'a [(RouteBackend<Backend>, u32)],
    chance: &mut impl FnMut() -> f64,
) -> Vec<(usize, &'a RouteBackend<Backend>)> {
    let mut keyed: Vec<(f64, usize)> = backends
        .iter()
        .enumerate()
        .map(|(index, (_, weight))| (-(1.0 - chance()).ln() / f64::from(*weight).max(1e-9), index))
        .collect();
    keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
    let order = keyed.into_iter().map(|(_, index)| index);
    order.map(|index| (index, &backends[index].0)).collect()
}

/// Every backend of a distribution.
pub fn backends(distribution: &Distribution<Backend>) -> impl Iterator<Item = &Backend> + Clone {
    let (first, random): (&[RouteBackend<Backend>], &[_]) = match distribution {
        Distribution::Empty => (&[], &[]),
        Distribution::FirstAvailable(backends) => (backends, &[]),
        Distribution::RandomAvailable(backends) => (&[], backends),
    };
    let first = first.iter().map(|b| &b.backend);
    first.chain(random.iter().map(|(b, _)| &b.backend))
}

/// The route a distribution is of; one that leads nowhere is of none.
pub fn route_name(distribution: &Distribution<Backend>) -> Option<&Arc<RouteName>> {
    let first = match distribution {
        Distribution::Empty => None,
        Distribution::FirstAvailable(backends) => backends.first(),
        Distribution::RandomAvailable(backends) => backends.first().map(|(backend, _)| backend),
    };
    first.map(|backend| &backend.name.route)
}

/// Every balancer of a distribution.
fn balancers(distribution: &Distribution<Backend>) -> impl Iterator<Item = &Arc<Balancer>> + Clone {
    backends(distribution).filter_map(|backend| match backend {
        Backend::Balancer(balancer) => Some(balancer),
        Backend::Forward(_) | Backend::Fail(_) => None,
    })
}

/// Whether a request could go somewhere at `now`, past the endpoints and backends (by index) it
/// avoids. Unlike [`select`] this chooses nobody.
pub fn has_ready(
    distribution: &Distribution<Backend>,
    now: Instant,
    avoid: &[EndpointId],
    avoid_backends: &[usize],
) -> bool {
    let others = backends(distribution).enumerate();
    let mut others = others.filter(|(index, _)| !avoid_backends.contains(index));
    others.any(|(_, backend)| match backend {
        Backend::Balancer(balancer) => balancer.is_ready(now, avoid),
        Backend::Forward(endpoint) => !avoid.contains(&endpoint.id),
        Backend::Fail(_) => false,
    })
}

/// Whether waiting could change what a distribution offers.
pub fn is_balanced(distribution: &Distribution<Backend>) -> bool {
    balancers(distribution).next().is_some()
}

/// How long a request waits for an endpoint: as long as the most patient backend's policy says.
pub fn failfast(distribution: &Distribution<Backend>, configured: Duration) -> Duration {
    let said = balancers(distribution).filter_map(|b| b.spec.queue.map(|queue| queue.failfast));
    said.max().unwrap_or(configured)
}

/// Waits until something about a distribution may have changed. Make it before selecting, so that
/// no change between the two is lost.
pub struct Waiter {
    /// When it was made.
    pub since: Instant,
    changes: Vec<tokio::sync::watch::Receiver<u64>>,
    unready_since: Option<Instant>,
    /// Places in the queues.
    _waiting: Vec<Waiting>,
}

impl Waiter {
    /// From now on. An error if as many wait already as may: `capacity`, or more if a policy allows
    /// more. (Stock control planes say 100 of every service, which a cold burst exceeds.)
    pub fn new(distribution: &Distribution<Backend>, capacity: usize) -> Result<Self, Error> {
        let balancers = balancers(distribution);
        let waiting = balancers.clone().map(|b| b.join_queue(capacity));
        let waiting = waiting.collect::<Option<Vec<_>>>();
        let since = balancers.clone().map(|b| b.unready_since());
        Ok(Self {
            since: Instant::now(),
            // All of them were seen unready, the last one at that time.
            unready_since: since
                .collect::<Option<Vec<_>>>()
                .and_then(|s| s.into_iter().max()),
            changes: balancers.map(|b| b.changes()).collect(),
            _waiting: waiting.ok_or(Error::LoadShed("too many requests wait for an endpoint"))?,
        })
    }

    /// When a request that started waiting at `start` gives up: sooner if requests before it have
    /// waited in vain already.
    pub fn deadline(&self, start: Instant, failfast: Duration) -> Instant {
        self.unready_since.map_or(start, |s| s.min(start)) + failfast
    }

    /// Waits for a change, or until it is worth looking again; `false` once `deadline` has passed.
    pub async fn wait(&mut self, deadline: Instant) -> bool {
        let now = Instant::now();
        if now >= deadline {
            return false;
        }
        let until = deadline.min(now + RECHECK);
        let changed = self.changes.iter_mut().map(|c| Box::pin(c.changed()));
        let changed: Vec<_> = changed.collect();
        if changed.is_empty() {
            tokio::time::sleep_until(until).await;
        } else {
            let any = futures::future::select_all(changed);
            // Late or not, the caller looks again.
            let _ = tokio::time::timeout_at(until, any).await;
        }
        true
    }
}
