//! Whether a failed request is sent again: the decision, and the budget that keeps retries from
//! making an overload worse. Pure: time is given, nothing is sent.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use crate::http::client::Stage;

/// What failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A request got this far.
    Request(Stage),
    /// A proxy on the way answered 502, 503 or 504 in the application's stead.
    PeerProxy,
    /// A proxy on the way says that nobody worked on the request.
    PeerRefused,
    /// The application answered in a way its route asks to repeat.
    Route,
    /// It did not begin to answer within the time its route gives one attempt.
    Slow,
}

/// What is known of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Whether its method may be repeated.
    pub idempotent: bool,
    /// Whether its whole body can be sent (once more): it was kept, or nobody touched it.
    pub resendable: bool,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send it again, for free: nobody has worked on it.
    Free,
    /// Send it again if the budget allows: somebody may have worked on it.
    Paid,
    /// Do not.
    Stop,
}

/// What to do about a fault.
pub fn decide(fault: Fault, asked: Asked) -> Verdict {
    match fault {
        _ if !asked.resendable => Verdict::Stop,
        // Nobody has seen it, so any method may go elsewhere.
        Fault::Request(Stage::Connect) => Verdict::Free,
        Fault::Request(Stage::Unprocessed) | Fault::PeerRefused | Fault::Route | Fault::Slow => {
            Verdict::Paid
        }
        Fault::Request(Stage::Lost) | Fault::PeerProxy if asked.idempotent => Verdict::Paid,
        Fault::Request(Stage::Lost | Stage::Final) | Fault::PeerProxy => Verdict::Stop,
    }
}

/// How many of all requests may be repeated, over a sliding window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Retries per request.
    pub ratio: f64,
    /// Retries that are always allowed.
    pub reserve: f64,
    /// How far back requests and retries count; at most a minute.
    pub window: Duration,
    /// Whether everything that was in flight at once has its retry, too.
    pub in_flight: bool,
}

impl Limits {
    /// For answers a route asks for again without naming a budget. Its owner has said how often
    /// each request may be repeated; this only keeps the whole from more than doubling.
    pub const OF_ROUTES: Self = Self {
        ratio: 1.0,
        reserve: 10.0,
        window: Duration::from_secs(10),
        in_flight: true,
    };
}

impl Default for Limits {
    /// A share of the requests, plus everything that was in flight at once. A fault can fail at
    /// most what was in flight when it came, so each of those has its retry; a fault that lasts
    /// is limited to the share.
    fn default() -> Self {
        Self {
            ratio: 0.2,
            reserve: 10.0,
            window: Duration::from_secs(10),
            in_flight: true,
        }
    }
}

const BUCKET: Duration = Duration::from_secs(1);
const BUCKETS: u32 = 60;

/// What was asked of one target, and repeated.
#[derive(Debug, Default)]
pub struct Budget {
    in_flight: u32,
    buckets: VecDeque<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    since: Instant,
    requests: u32,
    retries: u32,
    peak: u32,
}

impl Budget {
    /// A request starts.
    pub fn begin(&mut self, now: Instant) {
        self.in_flight = self.in_flight.saturating_add(1);
        let in_flight = self.in_flight;
        let bucket = self.bucket(now);
        bucket.requests = bucket.requests.saturating_add(1);
        bucket.peak = bucket.peak.max(in_flight);
    }

    /// A request ends.
    pub fn end(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Asks for one retry.
    pub fn withdraw(&mut self, now: Instant, limits: &Limits) -> bool {
        self.bucket(now);
        let mut requests = 0.0;
        let (mut retries, mut peak) = (0_u32, 0);
        let recent = |b: &&Bucket| now.saturating_duration_since(b.since) < limits.window;
        for bucket in self.buckets.iter().filter(recent) {
            requests += f64::from(bucket.requests);
            retries = retries.saturating_add(bucket.retries);
            peak = peak.max(bucket.peak);
        }
        let peak = if limits.in_flight {
            f64::from(peak)
        } else {
            0.0
        };
        let allowed = limits.reserve.max(peak) + limits.ratio * requests;
        let granted = f64::from(retries) < allowed;
        if granted {
            self.bucket(now).retries += 1;
        }
        granted
    }

    fn bucket(&mut self, now: Instant) -> &mut Bucket {
        let window = BUCKET * BUCKETS;
        let past = |b: &Bucket| now.saturating_duration_since(b.since) >= window;
        while self.buckets.front().is_some_and(past) {
            self.buckets.pop_front();
        }
        let current = self
            .buckets
            .back()
            .is_some_and(|b| now.saturating_duration_since(b.since) < BUCKET);
        if !current {
            let peak = self.in_flight;
            self.buckets.push_back(Bucket {
                since: now,
                requests: 0,
                retries: 0,
                peak,
            });
        }
        let last = self.buckets.len() - 1;
        &mut self.buckets[last]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: Asked = Asked {
        idempotent: true,
        resendable: true,
    };
    const POST: Asked = Asked {
        idempotent: false,
        resendable: true,
    };

    #[test]
    fn what_nobody_saw_is_sent_again_whatever_the_method() {
        let connect = Fault::Request(Stage::Connect);
        assert_eq!(decide(connect, POST), Verdict::Free);
        for refused in [Fault::Request(Stage::Unprocessed), Fault::PeerRefused] {
            assert_eq!(decide(refused, POST), Verdict::Paid);
            let streamed = Asked {
                resendable: false,
                ..POST
            };
            assert_eq!(decide(refused, streamed), Verdict::Stop);
        }
    }

    #[test]
    fn what_somebody_may_have_done_is_repeated_only_if_that_changes_nothing() {
        for fault in [Fault::Request(Stage::Lost), Fault::PeerProxy] {
            assert_eq!(decide(fault, GET), Verdict::Paid);
            assert_eq!(decide(fault, POST), Verdict::Stop);
            let big_put = Asked {
                resendable: false,
                ..GET
            };
            assert_eq!(decide(fault, big_put), Verdict::Stop);
        }
        assert_eq!(decide(Fault::Request(Stage::Final), GET), Verdict::Stop);
    }

    #[test]
    fn everything_in_flight_at_a_fault_has_its_retry() {
        let start = Instant::now();
        let mut budget = Budget::default();
        (0..600).for_each(|_| budget.begin(start));
        let later = start + 2 * BUCKET;
        (0..600).for_each(|_| assert!(budget.withdraw(later, &Limits::default())));
    }

    #[test]
    fn a_fault_that_lasts_is_limited_to_the_share() {
        let mut now = Instant::now();
        let mut budget = Budget::default();
        let mut granted = 0;
        // 100 requests a second for a minute, one at a time, each of which fails.
        for _ in 0..6000 {
            budget.begin(now);
            granted += u32::from(budget.withdraw(now, &Limits::default()));
            budget.end();
            now += Duration::from_millis(10);
        }
        let share = f64::from(granted) / 6000.0;
        assert!((0.15..0.25).contains(&share), "{share}");
    }

    #[test]
    fn an_exhausted_budget_refuses_and_refills() {
        let start = Instant::now();
        let mut budget = Budget::default();
        budget.begin(start);
        let granted = (0..100)
            .filter(|_| budget.withdraw(start, &Limits::default()))
            .count();
        assert!(granted < 15, "{granted}");
        assert!(!budget.withdraw(start, &Limits::default()));
        let later = start + 2 * Limits::default().window;
        assert!(budget.withdraw(later, &Limits::default()));
    }
}
