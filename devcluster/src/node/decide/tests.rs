//! Tables: a pod as it is → what to do next.

use super::super::model::*;
use super::*;

fn want(restart: Restart, roles: &[(&str, Role)]) -> Want {
    Want {
        restart,
        hold: false,
        grace_ms: 30_000,
        deadline: None,
        containers: roles
            .iter()
            .map(|(name, role)| WantContainer {
                name: (*name).to_owned(),
                role: *role,
                startup_probe: false,
                readiness_probe: false,
                post_start: false,
                pre_stop: PreStop::Nothing,
            })
            .collect(),
    }
}

fn pod(states: &[(&str, Record)]) -> PodRecord {
    PodRecord {
        containers: states
            .iter()
            .map(|(n, r)| ((*n).to_owned(), r.clone()))
            .collect(),
        ..Default::default()
    }
}

fn initialized(mut pod: PodRecord) -> PodRecord {
    pod.initialized = true;
    pod
}

fn running() -> Record {
    let state = State::Running(Running {
        pid: 7,
        ticks: 1,
        since: 0,
        stopping: None,
    });
    Record {
        attempt: 1,
        state,
        started: true,
        ..Default::default()
    }
}

fn stopping(deadline: Stamp) -> Record {
    let stopping = Some(Stopping {
        deadline,
        killed: false,
        terminate_at: None,
    });
    let state = State::Running(Running {
        pid: 7,
        ticks: 1,
        since: 0,
        stopping,
    });
    Record {
        attempt: 1,
        state,
        started: true,
        ..Default::default()
    }
}

fn ended(code: i32, finished: Stamp, back_off: u32) -> Record {
    let ended = Ended {
        pid: 7,
        code,
        signal: None,
        started: 0,
        finished,
        reason: String::new(),
        message: String::new(),
    };
    Record {
        attempt: 1,
        state: State::Ended(ended),
        back_off,
        ..Default::default()
    }
}

fn actions(want: &Want, pod: &PodRecord, now: Stamp) -> Vec<Action> {
    decide(want, pod, now).actions
}

const NOBODY: &[(&str, Record)] = &[];

#[test]
fn init_containers_run_one_after_the_other_and_mains_together() {
    let w = want(
        Restart::Always,
        &[
            ("a", Role::Init),
            ("b", Role::Init),
            ("m", Role::Main),
            ("n", Role::Main),
        ],
    );
    assert_eq!(actions(&w, &pod(NOBODY), 0), [Action::Start(0)]);
    assert_eq!(actions(&w, &pod(&[("a", running())]), 0), []);
    assert_eq!(
        actions(&w, &pod(&[("a", ended(0, 0, 0))]), 0),
        [Action::Start(1)]
    );
    let done = pod(&[("a", ended(0, 0, 0)), ("b", ended(0, 0, 0))]);
    let decision = decide(&w, &done, 0);
    assert_eq!(decision.actions, [Action::Start(2), Action::Start(3)]);
    assert!(decision.initialized);
}

#[test]
fn a_failed_init_container_is_retried_with_back_off_unless_the_policy_is_never() {
    let w = want(Restart::Always, &[("a", Role::Init), ("m", Role::Main)]);
    let failed = pod(&[("a", ended(1, 1000, 2))]);
    let early = decide(&w, &failed, 1500);
    assert_eq!((early.actions, early.wake), (vec![], Some(3000)));
    assert_eq!(actions(&w, &failed, 3000), [Action::Start(0)]);

    let never = want(Restart::Never, &[("a", Role::Init), ("m", Role::Main)]);
    assert_eq!(actions(&never, &failed, 9_999_999), []);
    assert_eq!(phase(&never, &failed), Phase::Failed);
}

#[test]
fn a_native_sidecar_only_has_to_be_started_before_what_follows() {
    let w = want(
        Restart::Always,
        &[("proxy", Role::Sidecar), ("m", Role::Main)],
    );
    assert_eq!(actions(&w, &pod(NOBODY), 0), [Action::Start(0)]);
    let mut starting = running();
    starting.started = false;
    assert_eq!(actions(&w, &pod(&[("proxy", starting)]), 0), []);
    assert_eq!(
        actions(&w, &pod(&[("proxy", running())]), 0),
        [Action::Start(1)]
    );
}

#[test]
fn a_sidecar_that_dies_later_restarts_and_init_containers_do_not() {
    let w = want(
        Restart::Never,
        &[
            ("i", Role::Init),
            ("proxy", Role::Sidecar),
            ("m", Role::Main),
        ],
    );
    let p = initialized(pod(&[
        ("i", ended(0, 0, 0)),
        ("proxy", ended(1, 0, 0)),
        ("m", running()),
    ]));
    assert_eq!(actions(&w, &p, 10_000), [Action::Start(1)]);
}

#[test]
fn restart_policies_and_the_phases_they_end_in() {
    // (policy, exit code) → (restarted?, phase)
    let table = [
        (Restart::Always, 0, true, Phase::Running),
        (Restart::Always, 1, true, Phase::Running),
        (Restart::OnFailure, 0, false, Phase::Succeeded),
        (Restart::OnFailure, 1, true, Phase::Running),
        (Restart::Never, 0, false, Phase::Succeeded),
        (Restart::Never, 1, false, Phase::Failed),
    ];
    for (policy, code, restarted, expected) in table {
        let w = want(policy, &[("m", Role::Main)]);
        let p = initialized(pod(&[("m", ended(code, 0, 0))]));
        let expected_actions = if restarted {
            vec![Action::Start(0)]
        } else {
            vec![]
        };
        assert_eq!(actions(&w, &p, 1000), expected_actions, "{policy:?} {code}");
        assert_eq!(phase(&w, &p), expected, "{policy:?} {code}");
    }
}

#[test]
fn the_back_off_doubles_from_one_second_to_five_minutes() {
    let delays: Vec<i64> = (0..12).map(delay_ms).collect();
    assert_eq!(delays[..5], [250, 1000, 2000, 4000, 8000]);
    assert_eq!(delays[9..], [256_000, 300_000, 300_000]);
    assert_eq!(delay_ms(u32::MAX), 300_000);
}

#[test]
fn a_long_run_clears_the_back_off() {
    let mut record = running();
    record.back_off = 5;
    let State::Ended(e) = ended(1, LONG_RUN_MS, 0).state else {
        unreachable!()
    };
    record.end(e);
    assert_eq!(record.back_off, 0);
}

#[test]
fn held_restarts_leave_the_dead_dead_but_start_what_never_ran() {
    let mut w = want(Restart::Always, &[("m", Role::Main), ("n", Role::Main)]);
    w.hold = true;
    let p = initialized(pod(&[("m", ended(137, 0, 0))]));
    let decision = decide(&w, &p, 1_000_000);
    assert_eq!(decision.actions, [Action::Start(1)]);
    assert_eq!(decision.wake, None);
    w.hold = false;
    assert_eq!(
        actions(&w, &p, 1_000_000),
        [Action::Start(0), Action::Start(1)]
    );
}

#[test]
fn deletion_stops_mains_together_then_sidecars_in_reverse_and_then_finishes() {
    let mut w = want(
        Restart::Always,
        &[
            ("s1", Role::Sidecar),
            ("s2", Role::Sidecar),
            ("m", Role::Main),
            ("n", Role::Main),
        ],
    );
    w.deadline = Some(5000);
    let all = [
        ("s1", running()),
        ("s2", running()),
        ("m", running()),
        ("n", running()),
    ];
    let stop = |index, grace_ms| Action::Stop { index, grace_ms };
    assert_eq!(actions(&w, &pod(&all), 0), [stop(3, 5000), stop(2, 5000)]);

    let p = pod(&[("s1", running()), ("s2", running()), ("m", stopping(5000))]);
    let waiting = decide(&w, &p, 0);
    assert_eq!((waiting.actions, waiting.wake), (vec![], Some(5000)));
    assert_eq!(actions(&w, &p, 5000), [Action::Kill(2)]);

    let p = pod(&[("s1", running()), ("s2", running()), ("m", ended(0, 0, 0))]);
    assert_eq!(actions(&w, &p, 4900), [stop(1, 2000)]);
    let p = pod(&[
        ("s1", running()),
        ("s2", ended(0, 0, 0)),
        ("m", ended(0, 0, 0)),
    ]);
    assert_eq!(actions(&w, &p, 4900), [stop(0, 2000)]);
    let p = pod(&[("s1", ended(0, 0, 0)), ("m", ended(0, 0, 0))]);
    assert_eq!(actions(&w, &p, 4900), [Action::Finish]);
}

#[test]
fn sigterm_waits_for_the_pre_stop_hook_but_not_beyond_the_grace() {
    let w = want(Restart::Always, &[("a", Role::Main)]);
    let mut record = stopping(10_000);
    if let State::Running(Running {
        stopping: Some(stopping),
        ..
    }) = &mut record.state
    {
        stopping.terminate_at = Some(2000);
    }
    let p = initialized(pod(&[("a", record)]));
    let early = decide(&w, &p, 1000);
    assert_eq!((early.actions, early.wake), (vec![], Some(2000)));
    assert_eq!(actions(&w, &p, 2000), [Action::Terminate(0)]);
    assert_eq!(actions(&w, &p, 10_000), [Action::Kill(0)]);
}

#[test]
fn the_next_container_starts_once_the_hook_of_the_one_before_is_over() {
    let mut w = want(Restart::Always, &[("a", Role::Main), ("b", Role::Main)]);
    w.containers[0].post_start = true;
    let none = initialized(pod(&[]));
    assert_eq!(actions(&w, &none, 0), [Action::Start(0)]);
    let mut hooked = running();
    hooked.hooked = true;
    let waits = initialized(pod(&[("a", hooked)]));
    assert_eq!(actions(&w, &waits, 0), []);
    let over = initialized(pod(&[("a", running())]));
    assert_eq!(actions(&w, &over, 0), [Action::Start(1)]);
}

#[test]
fn a_sidecar_is_there_once_its_hook_is_over() {
    let w = want(Restart::Always, &[("s", Role::Sidecar), ("m", Role::Main)]);
    let mut sidecar = running();
    sidecar.hooked = true;
    assert_eq!(actions(&w, &pod(&[("s", sidecar)]), 0), []);
    assert_eq!(
        actions(&w, &pod(&[("s", running())]), 0),
        [Action::Start(1)]
    );
}

#[test]
fn a_shorter_deletion_overrides_the_grace_under_way() {
    let mut w = want(Restart::Always, &[("m", Role::Main)]);
    let p = initialized(pod(&[("m", stopping(60_000))]));
    assert_eq!(decide(&w, &p, 0).wake, Some(60_000));
    w.deadline = Some(1000);
    assert_eq!(actions(&w, &p, 1000), [Action::Kill(0)]);
}

#[test]
fn a_finished_job_takes_its_sidecars_with_it() {
    let w = want(Restart::Never, &[("s", Role::Sidecar), ("m", Role::Main)]);
    let p = initialized(pod(&[("s", running()), ("m", ended(0, 0, 0))]));
    assert_eq!(
        actions(&w, &p, 0),
        [Action::Stop {
            index: 0,
            grace_ms: 30_000
        }]
    );
    assert_eq!(phase(&w, &p), Phase::Succeeded);
}

#[test]
fn a_failed_start_waits_for_its_time_and_keeps_the_pod_pending() {
    let w = want(Restart::Always, &[("m", Role::Main), ("n", Role::Main)]);
    let waiting = Waiting {
        reason: "ErrImagePull".into(),
        retry_at: 500,
        ..Default::default()
    };
    let record = Record {
        state: State::Waiting(waiting),
        ..Default::default()
    };
    let p = initialized(pod(&[("m", record), ("n", running())]));
    assert_eq!(decide(&w, &p, 0).wake, Some(500));
    assert_eq!(actions(&w, &p, 500), [Action::Start(0)]);
    assert_eq!(phase(&w, &p), Phase::Pending);
}
