//! A balancer: the endpoints of one name, and the choice between two of them.
//!
//! A task follows `Destination.Get` and replaces the endpoint list ([`set`] says how, purely);
//! requests pick inline from the last list, without a queue or a task in between. An endpoint's
//! own state ([`health`], [`load`], its connection) decides whether and how much it is used.

mod choose;
mod gate;
pub mod health;
pub mod load;
pub mod ramp;
pub mod set;
mod window;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::{sync::watch, task::AbortHandle, time::Instant};

use self::{gate::Gate, health::Health, load::Load, ramp::Ramp, set::Endpoints};
use super::{
    endpoint::{Endpoint, Kit, Metadata, live::Availability, live::EndpointId},
    policy::BalancerSpec,
};
use crate::{
    control::Control,
    metrics::{Snapshot, Source},
};

/// The endpoints of one name.
pub struct Balancer {
    /// Which, and how.
    pub spec: BalancerSpec,
    shared: Arc<Shared>,
    task: AbortHandle,
}

struct Shared {
    spec: BalancerSpec,
    kit: Kit,
    list: ArcSwap<List>,
    /// Counts changes, for those who wait for one.
    changes: watch::Sender<u64>,
    ramp: Mutex<Ramp>,
    gate: Gate,
    /// Updates of discovery: that add, that remove, that say everything anew.
    updates: [AtomicU64; 3],
    warm: AtomicBool,
    /// How many requests wait.
    waiting: AtomicUsize,
    /// Whether discovery says that there is nothing of this name.
    denied: watch::Sender<bool>,
}

/// A place in a balancer's queue, until dropped.
pub struct Waiting(Arc<Shared>);

/// What was last heard.
#[derive(Default)]
struct List {
    /// Whether anything was.
    resolved: bool,
    /// Those of our own zone first.
    endpoints: Vec<Arc<Endpoint>>,
    /// How many of them are of our own zone; 0 if all are, or nobody knows.
    near: usize,
    /// What weights add up to, endpoint by endpoint; none, if all are the same.
    weights: Vec<u64>,
}

/// What a request needs of an endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Want<'a> {
    /// The time.
    pub now: Instant,
    /// Endpoints that failed this request.
    pub avoid: &'a [EndpointId],
    /// Whether the request may find out if an ejected endpoint works again: it can be repeated
    /// elsewhere.
    pub probe: bool,
}

/// What a balancer offers.
pub enum Pick {
    /// This endpoint.
    Endpoint(Arc<Endpoint>),
    /// Nothing yet, but a moment's wait is worth it.
    Pending,
    /// There are endpoints, none of which can serve.
    Unavailable,
    /// Discovery says there is none.
    Empty,
}

impl Balancer {
    /// Starts to follow the endpoints; call inside a runtime.
    pub fn spawn(spec: BalancerSpec, control: Control, kit: Kit) -> Self {
        let shared = Arc::new(Shared {
            spec: spec.clone(),
            kit: kit.apart(),
            list: ArcSwap::default(),
            changes: watch::Sender::new(0),
            ramp: Mutex::default(),
            gate: Gate::new(spec.queue.map_or(kit.failfast, |queue| queue.failfast)),
            updates: Default::default(),
            warm: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            denied: watch::Sender::new(false),
        });
        let task = tokio::spawn({
            let shared = shared.clone();
            async move {
                let path = shared.spec.path.clone();
                let mut known = Endpoints::default();
                let follow = control.endpoints(&path, |event| {
                    let denied = set::denies(&event);
                    let known_so = |known: &mut bool| std::mem::replace(known, denied) != denied;
                    shared.denied.send_if_modified(known_so);
                    let kind = set::kind(&event);
                    if known.apply(&path, event) {
                        shared.updates[kind as usize].fetch_add(1, Ordering::Relaxed);
                        shared.replace(&known);
                    }
                });
                follow.await;
            }
        });
        Self {
            spec,
            shared,
            task: task.abort_handle(),
        }
    }

    /// Keeps HTTP/2 connections to all endpoints that speak it, from now on.
    pub fn warm(&self) {
        if !self.shared.warm.swap(true, Ordering::Relaxed) {
            for endpoint in &self.shared.list.load().endpoints {
                endpoint.warm();
            }
        }
    }

    /// The better of two random endpoints.
    pub fn pick(&self, want: Want<'_>) -> Pick {
        let list = self.shared.list.load();
        let pick = match (list.resolved, list.endpoints.is_empty()) {
            (false, _) => Pick::Pending,
            (true, true) => Pick::Empty,
            (true, false) => choose::choose(&list, want, self.min_ready()),
        };
        self.shared.observe(&pick, want);
        pick
    }

    /// Whether somebody else than `avoid` could serve at `now`.
    pub fn is_ready(&self, now: Instant, avoid: &[EndpointId]) -> bool {
        let want = Want {
            now,
            avoid,
            probe: false,
        };
        let list = self.shared.list.load();
        list.endpoints
            .iter()
            .any(|endpoint| choose::is_ready(endpoint, want))
    }

    /// The share of traffic this backend should get after having been away.
    pub fn share(&self, now: Instant) -> f64 {
        self.shared.ramp.lock().share(now)
    }

    /// Since when no endpoint was ready, as far as requests have seen.
    pub fn unready_since(&self) -> Option<Instant> {
        self.shared.gate.unready_since()
    }

    fn min_ready(&self) -> usize {
        self.spec.accrual.map_or(0, |accrual| accrual.min_ready)
    }

    /// A place among those who wait; `None` if there are `capacity` already, or as many as the
    /// policy allows if that is more.
    pub fn join_queue(&self, capacity: usize) -> Option<Waiting> {
        let before = self.shared.waiting.fetch_add(1, Ordering::Relaxed);
        let place = Waiting(self.shared.clone());
        let said = self.spec.queue.map_or(0, |queue| queue.capacity);
        (before < capacity.max(said)).then_some(place)
    }

    /// Whether discovery says that there is nothing of this name, now and later.
    pub fn denied(&self) -> watch::Receiver<bool> {
        self.shared.denied.subscribe()
    }

    /// Notices every change from now on.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// For metrics.
    pub(crate) fn source(&self) -> Weak<dyn Source> {
        let weak: Weak<Shared> = Arc::downgrade(&self.shared);
        weak
    }

    /// For `/state`: each endpoint and whether it is used.
    pub fn describe(&self) -> Vec<(SocketAddr, Availability)> {
        let now = Instant::now();
        let list = self.shared.list.load();
        let describe = |e: &Arc<Endpoint>| (e.addr, e.availability(now, false));
        list.endpoints.iter().map(describe).collect()
    }
}

impl Source for Shared {
    fn snapshot(&self) -> Snapshot {
        let now = Instant::now();
        let list = self.list.load();
        let is_ready = |e: &&Arc<Endpoint>| e.availability(now, false) == Availability::Ready;
        let ready = list.endpoints.iter().filter(is_ready).count();
        let gate = self.gate.state(now);
        Snapshot {
            ready: ready as u64,
            pending: (list.endpoints.len() - ready) as u64,
            updates: std::array::from_fn(|i| self.updates[i].load(Ordering::Relaxed)),
            waiting: self.waiting.load(Ordering::Relaxed) as u64,
            gate: gate.changes,
            gate_since: gate.since,
            gate_timeout: self.gate.timeout.as_secs_f64(),
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    /// Follows availability at each pick: a balancer nobody asks has nothing to protect.
    fn observe(&self, pick: &Pick, want: Want<'_>) {
        let ready = match pick {
            Pick::Endpoint(_) => true,
            // Having used up all endpoints in one request says nothing about the others.
            _ if !want.avoid.is_empty() => return,
            Pick::Pending => return self.gate.unready(want.now),
            Pick::Unavailable | Pick::Empty => false,
        };
        self.ramp.lock().observe(ready, want.now);
        match ready {
            true => self.gate.ready(want.now),
            false => self.gate.unready(want.now),
        }
    }

    /// Publishes a new list; endpoints that did not change are kept with their connections.
    fn replace(self: &Arc<Self>, known: &Endpoints) {
        let old = self.list.load();
        let mut kept: BTreeMap<SocketAddr, Arc<Endpoint>> = old
            .endpoints
            .iter()
            .map(|endpoint| (endpoint.addr, endpoint.clone()))
            .collect();
        // Whoever joins endpoints that already share the load gets its share gradually.
        let joins = (!old.endpoints.is_empty()).then(Instant::now);
        let endpoints = known.iter().map(|(addr, metadata)| {
            let same = |old: &Arc<Endpoint>| old.metadata.is_reached_as(metadata);
            match kept.remove(addr).filter(same) {
                Some(endpoint) => {
                    endpoint.set_weight(metadata.weight);
                    endpoint
                }
                None => Arc::new(self.endpoint(*addr, metadata.clone(), joins)),
            }
        });
        let mut endpoints: Vec<_> = endpoints.collect();
        if self.warm.load(Ordering::Relaxed) {
            endpoints.iter().for_each(|endpoint| endpoint.warm());
        }
        let near = choose::near_first(&mut endpoints);
        self.list.store(Arc::new(List {
            resolved: true,
            near,
            weights: choose::weights(&endpoints),
            endpoints,
        }));
        kept.values().for_each(|gone| gone.withdraw());
        self.changed();
    }

    fn endpoint(
        self: &Arc<Self>,
        addr: SocketAddr,
        metadata: Metadata,
        joins: Option<Instant>,
    ) -> Endpoint {
        let spec = &self.spec;
        let balancer: Weak<Self> = Arc::downgrade(self);
        let on_change = Arc::new(move || {
            if let Some(balancer) = balancer.upgrade() {
                balancer.changed();
            }
        });
        Endpoint::new(
            &self.kit,
            spec.path.clone(),
            (addr, metadata),
            Load::new(spec.default_rtt, spec.decay, spec.penalty, Instant::now()),
            Health::new(spec.accrual, joins),
            on_change,
        )
    }

    fn changed(&self) {
        self.changes
            .send_modify(|count| *count = count.wrapping_add(1));
    }
}

/// How long requests that wait look again by themselves: ejections end by the clock.
pub const RECHECK: Duration = Duration::from_millis(50);
