//! What to do next for one pod: a pure function of what it asks for, what its containers are
//! doing, and the time. The worker (`worker.rs`) carries the answer out and asks again.

use super::model::{PodRecord, Record, Restart, Role, Running, Stamp, State, Want, WantContainer};

/// A run at least this long is a good one: the next failure starts the back-off afresh.
pub(super) const LONG_RUN_MS: i64 = 10 * 60 * 1000;
const FIRST_DELAY_MS: i64 = 250;
const MAX_DELAY_MS: i64 = 5 * 60 * 1000;
/// What a native sidecar gets at the end, even when the pod's grace is used up.
const SIDECAR_GRACE_MS: i64 = 2000;

/// One thing to do; `usize` is the container's place in `Want::containers`.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    Start(usize),
    /// SIGTERM now or once its preStop hook is over, SIGKILL after the grace.
    Stop {
        index: usize,
        grace_ms: i64,
    },
    /// Its preStop hook is over.
    Terminate(usize),
    Kill(usize),
    /// Nothing is left alive: the pod may leave the API.
    Finish,
}

/// `status.phase`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Pending,
    Running,
    Succeeded,
    Failed,
}

/// The answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Decision {
    pub(super) actions: Vec<Action>,
    /// Ask again at this time even if nothing happens before.
    pub(super) wake: Option<Stamp>,
    /// Every init container has had its turn.
    pub(super) initialized: bool,
}

impl Decision {
    fn wake_at(&mut self, at: Stamp) {
        self.wake = Some(self.wake.map_or(at, |w| w.min(at)));
    }
}

/// Decides.
pub(super) fn decide(want: &Want, pod: &PodRecord, now: Stamp) -> Decision {
    let records: Vec<Record> = want
        .containers
        .iter()
        .map(|c| pod.container(&c.name))
        .collect();
    let mut decision = Decision {
        actions: Vec::new(),
        wake: None,
        initialized: pod.initialized,
    };
    press_on_with_stops(want, &records, now, &mut decision);
    let over = matches!(phase(want, pod), Phase::Succeeded | Phase::Failed);
    if want.deadline.is_some() || over {
        wind_down(want, &records, now, &mut decision);
        return decision;
    }
    if !decision.initialized {
        decision.initialized = run_init(want, &records, now, &mut decision);
    }
    if decision.initialized {
        for (index, (c, record)) in want.containers.iter().zip(&records).enumerate() {
            if c.role == Role::Init {
                continue;
            }
            start_if_due(want, index, c, record, now, &mut decision);
            // The next one starts once this one's postStart hook is over.
            if record.hooked || (c.post_start && record.running().is_none()) {
                break;
            }
        }
    }
    decision
}

/// The phase the records add up to.
pub(super) fn phase(want: &Want, pod: &PodRecord) -> Phase {
    let mut seen_all = true;
    let (mut all_final, mut all_ok) = (true, true);
    for c in &want.containers {
        let record = pod.container(&c.name);
        match (c.role, &record.state) {
            (Role::Init, State::Ended(e)) if !e.ok() && want.restart == Restart::Never => {
                return Phase::Failed;
            }
            (Role::Init | Role::Sidecar, _) => {}
            (Role::Main, State::Ended(e)) => {
                all_final &= !restarts(want, c.role, e.ok());
                all_ok &= e.ok();
            }
            (Role::Main, State::Running(_)) => all_final = false,
            (Role::Main, State::Waiting(_)) => {
                all_final = false;
                seen_all &= record.attempt > 0;
            }
        }
    }
    match (pod.initialized, all_final, all_ok) {
        (false, ..) => Phase::Pending,
        (true, true, true) => Phase::Succeeded,
        (true, true, false) => Phase::Failed,
        (true, false, _) if seen_all => Phase::Running,
        (true, false, _) => Phase::Pending,
    }
}

/// When an ended container may be started again; `None` if it stays as it is.
pub(super) fn restart_at(want: &Want, role: Role, record: &Record) -> Option<Stamp> {
    match &record.state {
        State::Ended(e) if !want.hold && restarts(want, role, e.ok()) => {
            Some(e.finished.saturating_add(delay_ms(record.back_off)))
        }
        _ => None,
    }
}

/// The back-off table: at once, then 1 s, 2 s, 4 s … 5 min.
pub(super) fn delay_ms(back_off: u32) -> i64 {
    match back_off {
        0 => FIRST_DELAY_MS,
        n => (1000_i64 << (n - 1).min(20)).min(MAX_DELAY_MS),
    }
}

fn restarts(want: &Want, role: Role, ok: bool) -> bool {
    match (role, want.restart) {
        (Role::Sidecar, _) | (Role::Main, Restart::Always) => true,
        (_, Restart::Never) => false,
        (Role::Main, Restart::OnFailure) | (Role::Init, _) => !ok,
    }
}

/// Init containers one after the other; true once all have had their turn.
fn run_init(want: &Want, records: &[Record], now: Stamp, decision: &mut Decision) -> bool {
    for (index, (c, record)) in want.containers.iter().zip(records).enumerate() {
        let passed = match (c.role, &record.state) {
            (Role::Main, _) => continue,
            (Role::Init, State::Ended(e)) => e.ok(),
            (Role::Sidecar, State::Running(_)) => record.started && !record.hooked,
            _ => false,
        };
        if !passed {
            start_if_due(want, index, c, record, now, decision);
            return false;
        }
    }
    true
}

fn start_if_due(
    want: &Want,
    index: usize,
    c: &WantContainer,
    record: &Record,
    now: Stamp,
    decision: &mut Decision,
) {
    let at = match &record.state {
        State::Running(_) => None,
        State::Waiting(w) => Some(w.retry_at),
        State::Ended(_) => restart_at(want, c.role, record),
    };
    match at {
        Some(at) if at <= now => decision.actions.push(Action::Start(index)),
        Some(at) => decision.wake_at(at),
        None => {}
    }
}

/// SIGTERM for those whose hook is over and SIGKILL for those whose grace is, whatever they were
/// stopped for.
fn press_on_with_stops(want: &Want, records: &[Record], now: Stamp, decision: &mut Decision) {
    for (index, record) in records.iter().enumerate() {
        let Some(Running {
            stopping: Some(stop),
            ..
        }) = record.running()
        else {
            continue;
        };
        if stop.killed {
            continue;
        }
        // A deletion with a shorter grace than the one under way wins.
        let is_sidecar = want.containers[index].role == Role::Sidecar;
        let deadline = match want.deadline {
            Some(d) if !is_sidecar => stop.deadline.min(d),
            _ => stop.deadline,
        };
        if deadline <= now {
            decision.actions.push(Action::Kill(index));
            continue;
        }
        decision.wake_at(deadline);
        match stop.terminate_at {
            Some(at) if at <= now => decision.actions.push(Action::Terminate(index)),
            Some(at) => decision.wake_at(at),
            None => {}
        }
    }
}

/// Ordinary containers first and together, then native sidecars, last started first.
fn wind_down(want: &Want, records: &[Record], now: Stamp, decision: &mut Decision) {
    let left = want.deadline.map_or(want.grace_ms, |d| (d - now).max(0));
    let mut alive = 0;
    let mut later_alive = records
        .iter()
        .zip(&want.containers)
        .any(|(r, c)| c.role != Role::Sidecar && r.running().is_some());
    for (index, (record, c)) in records.iter().zip(&want.containers).enumerate().rev() {
        let Some(running) = record.running() else {
            continue;
        };
        alive += 1;
        let its_turn = c.role != Role::Sidecar || !later_alive;
        later_alive |= c.role == Role::Sidecar;
        if running.stopping.is_none() && its_turn {
            let grace_ms = if c.role == Role::Sidecar {
                left.max(SIDECAR_GRACE_MS)
            } else {
                left
            };
            decision.actions.push(Action::Stop { index, grace_ms });
        }
    }
    if alive == 0 && want.deadline.is_some() {
        decision.actions.push(Action::Finish);
    }
}

#[cfg(test)]
mod tests;
