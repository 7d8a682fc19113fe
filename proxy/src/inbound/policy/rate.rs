//! How many requests a second a port takes: altogether, and from each client.
//!
//! Counts live as long as the policy they belong to: a changed policy starts anew.

use std::{collections::HashMap, time::Instant};

use linkerd2_proxy_api::inbound::{HttpLocalRateLimit, http_local_rate_limit as api};
use mesh_tls::Id;
use parking_lot::Mutex;

use super::proto::described;
use crate::metrics::Meta;

/// The limits of one port.
#[derive(Debug)]
pub struct RateLimit {
    /// The object it was made from.
    pub meta: Meta,
    total: Option<Bucket>,
    /// For each client without a limit of its own.
    each: Option<Each>,
    /// Clients with limits of their own.
    overrides: Vec<(Vec<String>, Bucket)>,
}

/// One limit, for each client apart. Those without an identity share one.
#[derive(Debug)]
struct Each {
    rate: f64,
    clients: Mutex<HashMap<Option<Id>, Bucket>>,
}

/// Which limit was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everyone's.
    Total,
    /// The client's.
    Identity,
}

/// Tokens that come back at a steady rate, for up to a second's worth.
#[derive(Debug)]
struct Bucket {
    rate: f64,
    state: Mutex<(f64, Instant)>,
}

/// Identities are proven, but there may be many.
const MAX_CLIENTS: usize = 10_000;

impl RateLimit {
    pub(super) fn from_proto(proto: HttpLocalRateLimit) -> Self {
        let now = Instant::now();
        let overrides = proto.overrides.into_iter().filter_map(|one| {
            let clients = one.clients?.identities;
            let names = clients.into_iter().map(|id| id.name).collect();
            Some((names, Bucket::new(rate(one.limit)?, now)))
        });
        Self {
            meta: described(proto.metadata).unwrap_or_else(|| Meta::default_named("")),
            total: rate(proto.total).map(|rate| Bucket::new(rate, now)),
            each: rate(proto.identity).map(|rate| Each {
                rate,
                clients: Mutex::default(),
            }),
            overrides: overrides.collect(),
        }
    }

    /// Takes one request's share, or says what is used up.
    pub fn take(&self, client: Option<&Id>, now: Instant) -> Result<(), Scope> {
        if self.total.as_ref().is_some_and(|total| !total.take(now)) {
            return Err(Scope::Total);
        }
        let own = client.and_then(|id| {
            let mut overrides = self.overrides.iter();
            overrides.find(|(names, _)| names.iter().any(|name| name == id.as_str()))
        });
        let allowed = match (own, &self.each) {
            (Some((_, own)), _) => own.take(now),
            (None, None) => true,
            (None, Some(each)) => each.take(client, now),
        };
        match allowed {
            true => Ok(()),
            false => Err(Scope::Identity),
        }
    }
}

impl Each {
    fn take(&self, client: Option<&Id>, now: Instant) -> bool {
        let mut clients = self.clients.lock();
        let client = client.cloned();
        if clients.len() >= MAX_CLIENTS && !clients.contains_key(&client) {
            make_room(&mut clients, now);
        }
        clients
            .entry(client)
            .or_insert_with(|| Bucket::new(self.rate, now))
            .take(now)
    }
}

/// Forgets the tenth of the clients that have most left, for whom it matters least: a client whose
/// bucket is full loses nothing, and one whose bucket is empty gains nothing by a crowd of others.
fn make_room(clients: &mut HashMap<Option<Id>, Bucket>, now: Instant) {
    let mut left: Vec<f64> = clients.values().map(|bucket| bucket.left(now)).collect();
    let kept = left.len() - left.len() / 10;
    let (_, most, _) = left.select_nth_unstable_by(kept, f64::total_cmp);
    let most = *most;
    let mut gone = clients.len() - kept;
    clients.retain(|_, bucket| {
        let goes = gone > 0 && bucket.left(now) >= most;
        gone -= usize::from(goes);
        !goes
    });
}

impl Scope {
    /// As metrics name it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Identity => "identity",
        }
    }
}

impl Bucket {
    fn new(rate: f64, now: Instant) -> Self {
        Self {
            rate,
            state: Mutex::new((rate.max(1.0), now)),
        }
    }

    fn take(&self, now: Instant) -> bool {
        let mut state = self.state.lock();
        let tokens = self.refilled(*state, now);
        let allowed = tokens >= 1.0;
        *state = (if allowed { tokens - 1.0 } else { tokens }, now);
        allowed
    }

    fn left(&self, now: Instant) -> f64 {
        self.refilled(*self.state.lock(), now)
    }

    fn refilled(&self, (tokens, since): (f64, Instant), now: Instant) -> f64 {
        let passed = now.saturating_duration_since(since).as_secs_f64();
        (tokens + passed * self.rate).min(self.rate.max(1.0))
    }
}

/// No limit, or one of zero, which no control plane means, is none.
fn rate(limit: Option<api::Limit>) -> Option<f64> {
    limit
        .map(|limit| f64::from(limit.requests_per_second))
        .filter(|rate| *rate > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn limit(requests_per_second: u32) -> Option<api::Limit> {
        Some(api::Limit {
            requests_per_second,
        })
    }

    #[test]
    fn no_crowd_of_clients_outgrows_the_bound_or_is_kept_out_by_it() {
        let limits = RateLimit::from_proto(HttpLocalRateLimit {
            identity: limit(2),
            ..Default::default()
        });
        let now = Instant::now();
        let id = |n: usize| -> Id { format!("client-{n}.example").parse().unwrap() };
        // The first half has used up its share, the others have some of theirs: nobody's is full.
        for n in 0..MAX_CLIENTS / 2 {
            assert_eq!(taken(&limits, Some(&id(n)), now), 2);
        }
        for n in MAX_CLIENTS / 2..2 * MAX_CLIENTS {
            assert_eq!(limits.take(Some(&id(n)), now), Ok(()), "{n}");
        }
        let each = limits.each.as_ref().unwrap();
        assert!(each.clients.lock().len() <= MAX_CLIENTS);
        // Who has nothing left is not given a new share by a crowd of others.
        assert_eq!(limits.take(Some(&id(0)), now), Err(Scope::Identity));
    }

    fn taken(limit: &RateLimit, id: Option<&Id>, now: Instant) -> usize {
        (0..100).filter(|_| limit.take(id, now).is_ok()).count()
    }

    #[test]
    fn shares_come_back_with_time() {
        let limits = RateLimit::from_proto(HttpLocalRateLimit {
            total: limit(10),
            ..Default::default()
        });
        let now = Instant::now();
        assert_eq!(taken(&limits, None, now), 10);
        assert_eq!(limits.take(None, now), Err(Scope::Total));
        assert_eq!(taken(&limits, None, now + Duration::from_millis(500)), 5);
        assert_eq!(taken(&limits, None, now + Duration::from_secs(60)), 10);
    }

    #[test]
    fn each_client_has_its_own_share_unless_told_otherwise() {
        let (a, b): (Id, Id) = ("a.example".parse().unwrap(), "b.example".parse().unwrap());
        let limits = RateLimit::from_proto(HttpLocalRateLimit {
            identity: limit(5),
            overrides: vec![api::Override {
                limit: limit(20),
                clients: Some(api::r#override::ClientIdentities {
                    identities: vec![linkerd2_proxy_api::inbound::Identity {
                        name: b.to_string(),
                    }],
                }),
            }],
            ..Default::default()
        });
        let now = Instant::now();
        assert_eq!(taken(&limits, Some(&a), now), 5);
        assert_eq!(taken(&limits, Some(&b), now), 20);
        assert_eq!(taken(&limits, None, now), 5);
        assert_eq!(limits.take(Some(&a), now), Err(Scope::Identity));
    }
}
