//! The plain data the node agent thinks with: what a Pod asks for (`Want`) and what is known of
//! its containers (`PodRecord`, written to disk so that the next start of the agent can adopt
//! them). Used by every file of this folder; does no I/O and knows no Kubernetes type.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Milliseconds since the epoch. Wall-clock, because it outlives the agent and ends in statuses.
pub(super) type Stamp = i64;

/// The current time.
pub(super) fn now() -> Stamp {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map(|d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
        .unwrap_or_default()
}

/// What a container is to its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Runs to completion before what follows it.
    Init,
    /// An init container that is to run for ever: it only has to be started before what follows.
    Sidecar,
    /// An ordinary container.
    Main,
}

/// `spec.restartPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Restart {
    Always,
    OnFailure,
    Never,
}

/// The part of a Pod that decides what its processes should be doing.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Want {
    pub(super) restart: Restart,
    /// Dead containers stay dead while this is set.
    pub(super) hold: bool,
    /// Time between SIGTERM and SIGKILL.
    pub(super) grace_ms: i64,
    /// Set once the pod is to go: everything must be dead by then.
    pub(super) deadline: Option<Stamp>,
    /// Init containers first, in the order of the spec.
    pub(super) containers: Vec<WantContainer>,
}

/// One container of a `Want`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct WantContainer {
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) startup_probe: bool,
    pub(super) readiness_probe: bool,
    /// Something is to be done right after its start, before others start.
    pub(super) post_start: bool,
    pub(super) pre_stop: PreStop,
}

/// What keeps SIGTERM away from a container that is to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum PreStop {
    #[default]
    Nothing,
    /// For so many milliseconds.
    Sleep(i64),
    /// Until its hook is over.
    Hook,
}

/// What is known of one pod; `pod.json` in its folder.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct PodRecord {
    pub(super) uid: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) ip: Option<Ipv4Addr>,
    /// When this agent first accepted the pod.
    pub(super) accepted: Stamp,
    /// The init containers have had their turn; they never get a second one.
    pub(super) initialized: bool,
    /// Restarts were held when last looked at; the change back clears the back-off.
    pub(super) held: bool,
    /// When its deletion was first seen.
    pub(super) deleting_since: Option<Stamp>,
    pub(super) containers: BTreeMap<String, Record>,
}

/// What is known of one container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    /// How often it was started; names the log file of each run.
    pub(super) attempt: u32,
    pub(super) state: State,
    /// How the run before the current one ended.
    pub(super) last: Option<Ended>,
    /// Position in the back-off table; 0 after a long enough run.
    pub(super) back_off: u32,
    /// The startup probe has passed, or there is none.
    pub(super) started: bool,
    /// The last word of the readiness probe.
    pub(super) ready: bool,
    /// Its postStart hook is not over yet.
    #[serde(default)]
    pub(super) hooked: bool,
}

/// Where a container is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum State {
    Waiting(Waiting),
    Running(Running),
    Ended(Ended),
}

impl Default for State {
    fn default() -> Self {
        State::Waiting(Waiting::default())
    }
}

/// Not started yet, or could not be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Waiting {
    /// Empty until a start has failed.
    pub(super) reason: String,
    pub(super) message: String,
    /// Not before this.
    pub(super) retry_at: Stamp,
    /// How often starting failed in a row.
    pub(super) tries: u32,
}

/// A live process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Running {
    pub(super) pid: i32,
    /// The kernel's start time of `pid`: together they name a process for good.
    pub(super) ticks: u64,
    pub(super) since: Stamp,
    pub(super) stopping: Option<Stopping>,
}

/// It is to end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Stopping {
    /// When SIGKILL follows.
    pub(super) deadline: Stamp,
    pub(super) killed: bool,
    /// When SIGTERM is due; none once it was sent.
    #[serde(default)]
    pub(super) terminate_at: Option<Stamp>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Ended {
    pub(super) pid: i32,
    pub(super) code: i32,
    pub(super) signal: Option<i32>,
    pub(super) started: Stamp,
    pub(super) finished: Stamp,
    pub(super) reason: String,
    pub(super) message: String,
}

impl Ended {
    /// Exit code 0.
    pub(super) fn ok(&self) -> bool {
        self.code == 0 && self.signal.is_none()
    }
}

impl Record {
    /// The live process, if there is one.
    pub(super) fn running(&self) -> Option<&Running> {
        match &self.state {
            State::Running(r) => Some(r),
            _ => None,
        }
    }

    /// As `containerStatuses[].ready` means it.
    pub(super) fn is_ready(&self, want: &WantContainer) -> bool {
        self.running().is_some() && self.started && (!want.readiness_probe || self.ready)
    }

    /// A process has been started for it.
    pub(super) fn begin(&mut self, pid: i32, ticks: u64, want: &WantContainer, at: Stamp) {
        if let State::Ended(ended) = &self.state {
            self.last = Some(ended.clone());
        }
        self.state = State::Running(Running {
            pid,
            ticks,
            since: at,
            stopping: None,
        });
        self.started = !want.startup_probe;
        self.ready = false;
        self.hooked = want.post_start;
    }

    /// Its process has ended.
    pub(super) fn end(&mut self, ended: Ended) {
        if ended.finished - ended.started >= super::decide::LONG_RUN_MS {
            self.back_off = 0;
        }
        self.state = State::Ended(ended);
        self.started = false;
        self.ready = false;
        self.hooked = false;
    }
}

impl PodRecord {
    /// The record of a container; one that never ran if there is none yet.
    pub(super) fn container(&self, name: &str) -> Record {
        self.containers.get(name).cloned().unwrap_or_default()
    }
}
