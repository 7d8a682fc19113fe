use super::*;
use crate::outbound::policy::SuccessRate;

const S: Duration = Duration::from_secs(1);

fn after(failures: u32) -> Health {
    let rules = Accrual {
        max_failures: Some(failures),
        ..UNLESS_SAID
    };
    Health::new(Some(rules), None)
}

#[test]
fn failures_in_a_row_take_it_out_and_one_probe_brings_it_back() {
    let start = Instant::now();
    let mut health = after(3);
    health.failed(start, 0.0, None);
    health.failed(start, 0.0, None);
    assert_eq!(health.usable(start), Usable::Yes);
    health.failed(start, 0.0, None);
    assert_eq!(health.usable(start), Usable::No);

    let later = start + S;
    assert_eq!(health.usable(later), Usable::Probe);
    assert!(health.begin_probe(later));
    assert!(!health.begin_probe(later), "one probe at a time");
    health.succeeded(later);
    assert_eq!(health.usable(later), Usable::Yes);
    assert!(health.share(later) < 0.2, "it comes back gradually");
    assert_eq!(health.share(later + 2 * S), 1.0);
}

#[test]
fn a_failed_probe_doubles_the_time_out() {
    let start = Instant::now();
    let mut health = after(1);
    health.failed(start, 0.0, None);
    assert!(health.begin_probe(start + S));
    health.failed(start + S, 0.0, None);
    assert_eq!(health.usable(start + 2 * S), Usable::No);
    assert_eq!(health.usable(start + 3 * S), Usable::Probe);
}

#[test]
fn requests_that_fail_together_are_one_fault() {
    let start = Instant::now();
    let mut health = after(1);
    for _ in 0..100 {
        health.failed(start, 0.0, None);
    }
    assert_eq!(health.usable(start + S), Usable::Probe);
}

#[test]
fn an_answer_that_was_under_way_does_not_bring_it_back() {
    let start = Instant::now();
    let mut health = after(1);
    health.failed(start, 0.0, None);
    health.succeeded(start);
    assert_eq!(health.usable(start), Usable::No);
}

#[test]
fn a_success_between_failures_starts_the_count_over() {
    let now = Instant::now();
    let mut health = after(2);
    for _ in 0..10 {
        health.failed(now, 0.0, None);
        health.succeeded(now);
    }
    assert_eq!(health.usable(now), Usable::Yes);
}

#[test]
fn an_unreachable_endpoint_is_out_at_once_but_briefly() {
    let start = Instant::now();
    let mut health = after(5);
    health.unreachable(start, 0.0);
    assert_eq!(health.usable(start), Usable::No);
    // Unless somebody reaches it after all.
    health.succeeded(start);
    assert_eq!(health.usable(start), Usable::Yes);
    health.unreachable(start, 0.0);
    let later = start + Duration::from_millis(100);
    assert_eq!(health.usable(later), Usable::Probe);
}

#[test]
fn too_few_successes_take_it_out_once_enough_were_asked() {
    let rules = Accrual {
        max_failures: None,
        success_rate: Some(SuccessRate {
            least_ppm: 800_000,
            window: 10 * S,
            min_requests: 5,
        }),
        ..UNLESS_SAID
    };
    let mut now = Instant::now();
    let mut health = Health::new(Some(rules), None);
    for good in [true, true, false] {
        match good {
            true => health.succeeded(now),
            false => health.failed(now, 0.0, None),
        }
    }
    assert_eq!(health.usable(now), Usable::Yes, "too few to say");
    health.succeeded(now);
    health.failed(now, 0.0, None);
    assert_eq!(health.usable(now), Usable::No, "3 of 5 succeeded");
    // What it was before does not count once it is back.
    now += S;
    assert!(health.begin_probe(now));
    health.succeeded(now);
    health.failed(now, 0.0, None);
    assert_eq!(health.usable(now), Usable::Yes);
}

#[test]
fn an_endpoint_that_asks_to_be_left_alone_is_if_the_policy_says_so() {
    let start = Instant::now();
    let out_for = |respect_retry_after, hint| {
        let rules = Accrual {
            max_failures: Some(1),
            respect_retry_after,
            ..UNLESS_SAID
        };
        let mut health = Health::new(Some(rules), None);
        health.failed(start, 0.0, Some(hint));
        let seconds = |n: &u32| health.usable(start + *n * S) == Usable::Probe;
        (0..1000).find(seconds).unwrap()
    };
    assert_eq!(out_for(true, 20 * S), 20);
    assert_eq!(out_for(false, 20 * S), 1);
    assert_eq!(out_for(true, 3600 * S), 300, "within reason");
}
