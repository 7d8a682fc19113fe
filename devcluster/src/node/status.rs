//! What the API is told about a pod: a pure function of what is known of it.

use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated,
    ContainerStateWaiting, ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::decide::{Phase, phase, restart_at};
use super::model::{Ended, PodRecord, Record, Role, Stamp, State, Want, WantContainer};
use super::plan;

/// A back-off shorter than this is not worth a word; the container shows how it ended.
const SHOWN_BACK_OFF_MS: i64 = 1000;
const OURS: [&str; 4] = ["PodScheduled", "Initialized", "ContainersReady", "Ready"];

/// Everything a status says.
pub(super) struct Known<'a> {
    pub(super) pod: &'a Pod,
    pub(super) want: &'a Want,
    pub(super) record: &'a PodRecord,
    pub(super) node_ip: Ipv4Addr,
    /// What was said before, for the times of transitions.
    pub(super) previous: Option<&'a PodStatus>,
    pub(super) now: Stamp,
}

/// The whole status.
pub(super) fn render(known: &Known<'_>) -> PodStatus {
    let phase = phase(known.want, known.record);
    let specs: Vec<(Role, &Container)> = plan::containers(known.pod).collect();
    let statuses: Vec<(Role, ContainerStatus)> = specs
        .iter()
        .zip(&known.want.containers)
        .map(|((role, spec), want)| (*role, container(known, spec, want)))
        .collect();
    let (init, main): (Vec<_>, Vec<_>) = statuses.into_iter().partition(|(r, _)| *r != Role::Main);
    let only = |list: Vec<(Role, ContainerStatus)>| list.into_iter().map(|(_, s)| s).collect();
    let init: Vec<ContainerStatus> = only(init);
    let ip = known.record.ip.map(|ip| ip.to_string());
    PodStatus {
        phase: Some(format!("{phase:?}")),
        conditions: Some(conditions(known, phase)),
        container_statuses: Some(only(main)),
        init_container_statuses: Some(init).filter(|list| !list.is_empty()),
        host_ip: Some(known.node_ip.to_string()),
        host_ips: Some(vec![HostIP {
            ip: known.node_ip.to_string(),
        }]),
        pod_ips: ip.clone().map(|ip| vec![PodIP { ip }]),
        pod_ip: ip,
        start_time: Some(time(known.record.accepted)),
        observed_generation: known.pod.metadata.generation,
        ..Default::default()
    }
}

/// Kubernetes keeps whole seconds.
pub(super) fn time(at: Stamp) -> Time {
    Time(Timestamp::from_second(at.div_euclid(1000)).unwrap_or_default())
}

fn container(known: &Known<'_>, spec: &Container, want: &WantContainer) -> ContainerStatus {
    let record = known.record.container(&spec.name);
    let running = record.running().is_some();
    let state = state(known, want, &record);
    // While a container waits to be started again, what is waited for is its last end.
    let last = match (&record.state, state.waiting.is_some()) {
        (State::Ended(ended), true) => Some(ended),
        _ => record.last.as_ref(),
    };
    let ended_well = matches!(&record.state, State::Ended(e) if e.ok());
    ContainerStatus {
        name: spec.name.clone(),
        image: spec.image.clone().unwrap_or_default(),
        image_id: if record.attempt > 0 {
            format!("process://{}", spec.image.clone().unwrap_or_default())
        } else {
            String::new()
        },
        container_id: (record.attempt > 0).then(|| id(known, spec, record.attempt)),
        ready: match want.role {
            Role::Init => ended_well,
            Role::Sidecar | Role::Main => record.is_ready(want),
        },
        started: Some(running && record.started),
        restart_count: i32::try_from(record.attempt.saturating_sub(1)).unwrap_or(i32::MAX),
        last_state: Some(ContainerState {
            terminated: last.map(|ended| terminated(known, spec, record.attempt, ended)),
            ..Default::default()
        }),
        state: Some(with_id(state, id(known, spec, record.attempt))),
        ..Default::default()
    }
}

fn state(known: &Known<'_>, want: &WantContainer, record: &Record) -> ContainerState {
    match &record.state {
        State::Running(running) => ContainerState {
            running: Some(ContainerStateRunning {
                started_at: Some(time(running.since)),
            }),
            ..Default::default()
        },
        State::Waiting(waiting) => {
            let reason = if !waiting.reason.is_empty() {
                waiting.reason.clone()
            } else if !known.record.initialized && want.role == Role::Main && has_init(known.want) {
                "PodInitializing".to_owned()
            } else {
                "ContainerCreating".to_owned()
            };
            wait(
                reason,
                Some(waiting.message.clone()).filter(|m| !m.is_empty()),
            )
        }
        State::Ended(ended) => match restart_at(known.want, want.role, record) {
            Some(at)
                if at - ended.finished >= SHOWN_BACK_OFF_MS && known.want.deadline.is_none() =>
            {
                let delay = (at - ended.finished) / 1000;
                let pod = &known.record;
                wait(
                    "CrashLoopBackOff".to_owned(),
                    Some(format!(
                        "back-off {delay}s restarting failed container={} pod={}_{}({})",
                        want.name, pod.name, pod.namespace, pod.uid
                    )),
                )
            }
            _ => ContainerState {
                terminated: Some(end(ended)),
                ..Default::default()
            },
        },
    }
}

fn wait(reason: String, message: Option<String>) -> ContainerState {
    let waiting = ContainerStateWaiting {
        reason: Some(reason),
        message,
    };
    ContainerState {
        waiting: Some(waiting),
        ..Default::default()
    }
}

fn end(ended: &Ended) -> ContainerStateTerminated {
    ContainerStateTerminated {
        exit_code: ended.code,
        signal: ended.signal,
        reason: Some(ended.reason.clone()),
        message: Some(ended.message.clone()).filter(|m| !m.is_empty()),
        started_at: Some(time(ended.started)),
        finished_at: Some(time(ended.finished)),
        container_id: None,
    }
}

fn terminated(
    known: &Known<'_>,
    spec: &Container,
    attempt: u32,
    ended: &Ended,
) -> ContainerStateTerminated {
    let attempt = match &known.record.container(&spec.name).state {
        State::Running(_) => attempt.saturating_sub(1),
        _ => attempt,
    };
    ContainerStateTerminated {
        container_id: Some(id(known, spec, attempt)),
        ..end(ended)
    }
}

fn with_id(mut state: ContainerState, id: String) -> ContainerState {
    if let Some(terminated) = &mut state.terminated {
        terminated.container_id = Some(id);
    }
    state
}

fn id(known: &Known<'_>, spec: &Container, attempt: u32) -> String {
    format!("process://{}/{}/{attempt}", known.record.uid, spec.name)
}

fn has_init(want: &Want) -> bool {
    want.containers.iter().any(|c| c.role != Role::Main)
}

fn conditions(known: &Known<'_>, phase: Phase) -> Vec<PodCondition> {
    let unready: Vec<&str> = known
        .want
        .containers
        .iter()
        .filter(|c| c.role != Role::Init)
        .filter(|c| !known.record.container(&c.name).is_ready(c))
        .map(|c| c.name.as_str())
        .collect();
    let not_ready = match phase {
        Phase::Succeeded => Some(("PodCompleted", String::new())),
        Phase::Failed => Some(("PodFailed", String::new())),
        _ if !unready.is_empty() => Some((
            "ContainersNotReady",
            format!("containers with unready status: [{}]", unready.join(" ")),
        )),
        _ => None,
    };
    let initialized = known.record.initialized;
    let init_reason = (!initialized).then(|| {
        (
            "ContainersNotInitialized",
            String::from("init containers have not completed"),
        )
    });
    let gate = not_ready.clone().or_else(|| closed_gate(known));
    let mut list = vec![
        condition(known, "PodScheduled", None),
        condition(known, "Initialized", init_reason),
        condition(known, "ContainersReady", not_ready),
        condition(known, "Ready", gate),
    ];
    list.extend(foreign(known).cloned());
    list
}

/// A readiness gate somebody else has not opened.
fn closed_gate(known: &Known<'_>) -> Option<(&'static str, String)> {
    let gates = known.pod.spec.as_ref()?.readiness_gates.as_ref()?;
    let closed = gates.iter().find(|gate| {
        !foreign(known).any(|c| c.type_ == gate.condition_type && c.status == "True")
    })?;
    Some((
        "ReadinessGatesNotReady",
        format!(
            "corresponding condition of pod readiness gate {:?} is not True",
            closed.condition_type
        ),
    ))
}

/// Conditions that are not ours to write; they are passed through.
fn foreign<'a>(known: &'a Known<'_>) -> impl Iterator<Item = &'a PodCondition> {
    let current = known
        .pod
        .status
        .as_ref()
        .and_then(|s| s.conditions.as_ref());
    current
        .into_iter()
        .flatten()
        .filter(|c| !OURS.contains(&c.type_.as_str()))
}

fn condition(
    known: &Known<'_>,
    type_: &str,
    failing: Option<(&'static str, String)>,
) -> PodCondition {
    let status = if failing.is_none() { "True" } else { "False" };
    let before = [known.previous, known.pod.status.as_ref()];
    let since = before
        .into_iter()
        .flatten()
        .filter_map(|s| s.conditions.as_ref())
        .flatten()
        .find(|c| c.type_ == type_ && c.status == status)
        .and_then(|c| c.last_transition_time.clone());
    let (reason, message) = failing.map(|(r, m)| (r.to_owned(), m)).unzip();
    PodCondition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason,
        message: message.filter(|m| !m.is_empty()),
        last_transition_time: since.or_else(|| Some(time(known.now))),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests;
