//! Choosing an endpoint: the less loaded of two random ones, heavy ones drawn more often.

use std::sync::Arc;

use rand::RngExt;
use tokio::time::Instant;

use super::{List, Pick, Want};
use crate::outbound::endpoint::{Endpoint, live::Availability};

/// How often two endpoints are drawn before all are looked at.
const DRAWS: usize = 3;
/// Up to this many, looking at all is as cheap as drawing.
const FEW: usize = 4;

/// What the endpoints' weights add up to, one by one; nothing, if all weigh the same.
pub(super) fn weights(endpoints: &[Arc<Endpoint>]) -> Vec<u64> {
    let same = |pair: &[Arc<Endpoint>]| pair[0].weight() == pair[1].weight();
    if endpoints.windows(2).all(same) {
        return Vec::new();
    }
    let add = |sum: &mut u64, endpoint: &Arc<Endpoint>| {
        *sum += u64::from(endpoint.weight());
        Some(*sum)
    };
    endpoints.iter().scan(0, add).collect()
}

/// An endpoint for a request. Fewer than `min_ready` are not enough: those that answer badly are
/// used then, too.
pub(super) fn choose(list: &List, want: Want<'_>, min_ready: usize) -> Pick {
    let endpoints = &list.endpoints;
    // Looks at no more of them than it takes.
    let are_ready = endpoints.iter().filter(|e| is_ready(e, want));
    let enough = are_ready.take(min_ready).count() == min_ready;
    if list.near > 0
        && enough
        && let Some(endpoint) = choose_near(list, want)
    {
        return Pick::Endpoint(endpoint);
    }
    if endpoints.len() > FEW && enough {
        for _ in 0..DRAWS {
            let (a, b) = draw(list);
            let (a, b) = (&endpoints[a], &endpoints[b]);
            if let Some(due) = [a, b].into_iter().find(|e| is_due(e, want)) {
                return Pick::Endpoint(due.clone());
            }
            if is_ready(a, want) && is_ready(b, want) {
                return Pick::Endpoint(lighter(a, b, want.now));
            }
        }
    }
    let mut ready = Vec::with_capacity(endpoints.len());
    let mut ejected = Vec::new();
    let mut pending = false;
    for endpoint in endpoints.iter().filter(|e| !want.avoid.contains(&e.id)) {
        match endpoint.availability(want.now, want.probe) {
            Availability::Ready => ready.push(endpoint),
            Availability::Probe if endpoint.begin_probe(want.now) => {
                return Pick::Endpoint(endpoint.clone());
            }
            Availability::Pending => pending = true,
            Availability::Probe | Availability::Ejected => ejected.push(endpoint),
            Availability::Unavailable => {}
        }
    }
    if ready.len() < min_ready {
        ready.append(&mut ejected);
    }
    match ready.as_slice() {
        [] if pending => Pick::Pending,
        // The last resort of a request that may not be repeated: an endpoint due for a probe.
        [] if !want.probe => choose_probe(endpoints, want),
        [] => Pick::Unavailable,
        [only] => Pick::Endpoint((*only).clone()),
        several => among(several, !list.weights.is_empty(), want.now),
    }
}

/// Puts endpoints of our own zone first; returns how many, or 0 if there are no others.
pub(super) fn near_first(endpoints: &mut [Arc<Endpoint>]) -> usize {
    endpoints.sort_by_key(|endpoint| !endpoint.is_near());
    let near = endpoints.partition_point(|endpoint| endpoint.is_near());
    if near == endpoints.len() { 0 } else { near }
}

/// Another zone's endpoint is asked if it is so much less busy than ours: crossing zones costs money and
/// time, waiting costs more.
const CROSS: f64 = 2.0;

/// An endpoint of our own zone, unless those drawn cannot serve or somebody else is far less busy.
fn choose_near(list: &List, want: Want<'_>) -> Option<Arc<Endpoint>> {
    let (near, far) = list.endpoints.split_at(list.near);
    let mut rng = rand::rng();
    let before = |n: usize| n.checked_sub(1).and_then(|last| list.weights.get(last));
    let from = before(list.near).copied();
    let all = list.weights.last().copied();
    let mut ours = || match from.filter(|sum| *sum > 0) {
        Some(sum) => {
            let mark = rng.random_range(0..sum);
            let index = list.weights.partition_point(|sum| *sum <= mark);
            &near[index.min(near.len() - 1)]
        }
        None => &near[rng.random_range(0..near.len())],
    };
    let (a, b) = (ours(), ours());
    if let Some(due) = [a, b].into_iter().find(|e| is_due(e, want)) {
        return Some(due.clone());
    }
    let ours = match (is_ready(a, want), is_ready(b, want)) {
        (true, true) => lighter(a, b, want.now),
        (true, false) => a.clone(),
        (false, true) => b.clone(),
        (false, false) => return None,
    };
    let theirs = match (from, all) {
        (Some(from), Some(all)) if from < all => {
            let mark = rng.random_range(from..all);
            let index = list.weights.partition_point(|sum| *sum <= mark);
            &list.endpoints[index.min(list.endpoints.len() - 1)]
        }
        _ => &far[rng.random_range(0..far.len())],
    };
    let crosses = is_ready(theirs, want) && theirs.cost(want.now) * CROSS < ours.cost(want.now);
    Some(if crosses { theirs.clone() } else { ours })
}

/// Two indices: different ones if all weigh the same, else each by weight.
fn draw(list: &List) -> (usize, usize) {
    let n = list.endpoints.len();
    let mut rng = rand::rng();
    let Some(&total) = list.weights.last().filter(|total| **total > 0) else {
        let i = rng.random_range(0..n);
        return (i, (i + rng.random_range(1..n)) % n);
    };
    let mut by_weight = || {
        let mark = rng.random_range(0..total);
        list.weights.partition_point(|sum| *sum <= mark).min(n - 1)
    };
    (by_weight(), by_weight())
}

/// The better of two of these, of which there are at least two.
fn among(endpoints: &[&Arc<Endpoint>], weighted: bool, now: Instant) -> Pick {
    let n = endpoints.len();
    let mut rng = rand::rng();
    let total: u64 = match weighted {
        true => endpoints.iter().map(|e| u64::from(e.weight())).sum(),
        false => 0,
    };
    let (i, j) = if total == 0 {
        let i = rng.random_range(0..n);
        (i, (i + rng.random_range(1..n)) % n)
    } else {
        let mut by_weight = || {
            let mut mark = rng.random_range(0..total);
            let passes = |e: &&Arc<Endpoint>| {
                let weight = u64::from(e.weight());
                let here = mark < weight;
                mark = mark.saturating_sub(weight);
                here
            };
            endpoints.iter().position(passes).unwrap_or(n - 1)
        };
        (by_weight(), by_weight())
    };
    Pick::Endpoint(lighter(endpoints[i], endpoints[j], now))
}

fn choose_probe(endpoints: &[Arc<Endpoint>], mut want: Want<'_>) -> Pick {
    want.probe = true;
    match endpoints.iter().find(|endpoint| is_due(endpoint, want)) {
        Some(endpoint) => Pick::Endpoint(endpoint.clone()),
        None => Pick::Unavailable,
    }
}

/// Whether this request is the one to find out if the endpoint works again.
fn is_due(endpoint: &Endpoint, want: Want<'_>) -> bool {
    want.probe
        && !want.avoid.contains(&endpoint.id)
        && endpoint.availability(want.now, true) == Availability::Probe
        && endpoint.begin_probe(want.now)
}

pub(super) fn is_ready(endpoint: &Endpoint, want: Want<'_>) -> bool {
    !want.avoid.contains(&endpoint.id)
        && endpoint.availability(want.now, false) == Availability::Ready
}

fn lighter(a: &Arc<Endpoint>, b: &Arc<Endpoint>, now: Instant) -> Arc<Endpoint> {
    match a.cost(now) <= b.cost(now) {
        true => a.clone(),
        false => b.clone(),
    }
}
