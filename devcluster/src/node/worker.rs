//! One pod's worker: asks `decide` what to do, does it, tells the publisher, waits for the next
//! thing to happen. Everything that blocks on the API is bounded; the records on disk are written
//! before anyone is told.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use super::agent::{Agent, Line, Spot};
use super::decide::{self, Action};
use super::disk::PodDir;
use super::events::Severity::{self, Normal, Warning};
use super::launch::Place;
use super::model::{PodRecord, PreStop, Role, Running, Stamp, State, Stopping, Want, now};
use super::probe::Kind;
use super::process::{Exit, Launch, Process};
use super::publisher::{Subject, Word, publish};
use super::volumes::Tokens;
use super::{plan, status};

mod hooking;
mod outcome;
mod start;
mod watching;

use hooking::Moment;

/// How often volumes are compared with what they show.
const REFRESH_MS: i64 = 30_000;
/// How soon after a failure to.
const REFRESH_RETRY_MS: i64 = 10_000;
/// A back-off shorter than this is no event.
const TOLD_BACK_OFF_MS: i64 = 900;
/// A start may wait for the API server this long before it counts as failed.
const START_TIMEOUT: Duration = Duration::from_secs(15);

/// What the manager last saw of a pod.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) pod: Arc<Pod>,
    /// The API has forgotten it.
    pub(super) gone: bool,
}

/// Something that happened to a container.
enum Happened {
    Exited {
        container: String,
        attempt: u32,
        exit: Exit,
    },
    Probed {
        container: String,
        attempt: u32,
        kind: Kind,
        ok: bool,
        message: String,
        grace_ms: Option<i64>,
    },
    /// A hook is over.
    Hooked {
        container: String,
        attempt: u32,
        moment: Moment,
        result: Result<(), String>,
    },
}

/// A worker's own state; what must survive is in `record`.
struct Worker {
    agent: Arc<Agent>,
    dir: PodDir,
    seen: Seen,
    want: Want,
    record: PodRecord,
    saved: PodRecord,
    live: HashMap<String, Live>,
    tokens: Tokens,
    volumes_due: Stamp,
    words: watch::Sender<Option<Word>>,
    happened: mpsc::Sender<Happened>,
    finished: bool,
}

/// A held process with the tasks that watch it.
struct Live {
    process: Arc<Process>,
    probes: Vec<AbortHandle>,
    hooks: Vec<AbortHandle>,
    /// How it was started; not known of an adopted one.
    launch: Option<Launch>,
}

impl Drop for Live {
    fn drop(&mut self) {
        let tasks = self.probes.iter().chain(&self.hooks);
        tasks.for_each(AbortHandle::abort);
    }
}

/// Looks after a pod until nothing of it is left.
pub(super) async fn run(
    agent: Arc<Agent>,
    dir: PodDir,
    record: PodRecord,
    mut pods: watch::Receiver<Seen>,
) {
    let (happened, mut inbox) = mpsc::channel(64);
    let (words, heard) = watch::channel(None);
    let subject = Subject {
        namespace: record.namespace.clone(),
        name: record.name.clone(),
        uid: record.uid.clone(),
    };
    let publisher = tokio::spawn(publish(agent.client.clone(), Arc::new(subject), heard));
    let seen = pods.borrow_and_update().clone();
    let want = plan::want(&seen.pod, &record, seen.gone, now());
    let mut worker = Worker {
        agent,
        dir,
        seen,
        want,
        saved: PodRecord::default(),
        record,
        live: HashMap::new(),
        tokens: Tokens::default(),
        volumes_due: 0,
        words,
        happened,
        finished: false,
    };
    worker.adopt();
    loop {
        let wake = worker.step().await;
        if worker.finished && worker.seen.gone {
            break;
        }
        let pause = Duration::from_millis(u64::try_from(wake - now()).unwrap_or_default());
        tokio::select! {
            changed = pods.changed() => match changed {
                Ok(()) => worker.seen = pods.borrow_and_update().clone(),
                // The manager is gone: the agent ends, the pod lives on.
                Err(_) => return,
            },
            Some(event) = inbox.recv() => {
                worker.hear(event);
                while let Ok(event) = inbox.try_recv() {
                    worker.hear(event);
                }
            }
            () = tokio::time::sleep(pause) => {}
        }
    }
    publisher.abort();
    worker.bury().await;
}

impl Worker {
    /// Decides and acts until there is nothing to do now; returns when to look again.
    async fn step(&mut self) -> Stamp {
        loop {
            self.read_pod();
            let decision = decide::decide(&self.want, &self.record, now());
            self.record.initialized = decision.initialized;
            self.save();
            let mut acted = false;
            for action in decision.actions {
                acted |= self.act(action).await;
            }
            self.publish();
            if !acted {
                let refreshed = self.refresh_volumes().await;
                return decision.wake.unwrap_or(Stamp::MAX).min(refreshed);
            }
        }
    }

    /// Takes in what the pod asks for now.
    fn read_pod(&mut self) {
        let deleting = self.seen.gone || self.seen.pod.metadata.deletion_timestamp.is_some();
        if deleting && self.record.deleting_since.is_none() {
            self.record.deleting_since = Some(now());
        }
        self.want = plan::want(&self.seen.pod, &self.record, self.seen.gone, now());
        if self.record.held && !self.want.hold {
            for record in self.record.containers.values_mut() {
                record.back_off = 0;
            }
        }
        self.record.held = self.want.hold;
        // A changed image is worth a try at once.
        for (_, spec) in plan::containers(&self.seen.pod) {
            let known = self
                .agent
                .images
                .find(spec.image.as_deref().unwrap_or_default())
                .is_ok();
            if let Some(record) = self.record.containers.get_mut(&spec.name)
                && matches!(&record.state, State::Waiting(w) if w.reason.contains("Image"))
                && known
            {
                record.state = State::default();
            }
        }
    }

    /// True if the world may have changed and another decision is worth it.
    async fn act(&mut self, action: Action) -> bool {
        match action {
            Action::Start(index) => {
                if !self.is_held_by_now(index).await {
                    self.start(index).await;
                }
                true
            }
            Action::Stop { index, grace_ms } => {
                self.stop(index, grace_ms, "Stopping container");
                true
            }
            Action::Terminate(index) => {
                let name = self.want.containers[index].name.clone();
                if let Some(live) = self.live.get(&name) {
                    live.process.terminate();
                }
                if let Some(stopping) = self.stopping(&name) {
                    stopping.terminate_at = None;
                }
                true
            }
            Action::Kill(index) => {
                let name = self.want.containers[index].name.clone();
                if let Some(live) = self.live.get(&name) {
                    live.process.kill();
                }
                if let Some(stopping) = self.stopping(&name) {
                    stopping.killed = true;
                }
                true
            }
            Action::Finish => {
                self.finished = true;
                false
            }
        }
    }

    fn stopping(&mut self, name: &str) -> Option<&mut Stopping> {
        match &mut self.record.containers.get_mut(name)?.state {
            State::Running(Running { stopping, .. }) => stopping.as_mut(),
            _ => None,
        }
    }

    fn stop(&mut self, index: usize, grace_ms: i64, why: &str) {
        let want = &self.want.containers[index];
        let (name, pre_stop) = (want.name.clone(), want.pre_stop);
        let Some(record) = self.record.containers.get_mut(&name) else {
            return;
        };
        let State::Running(running) = &mut record.state else {
            return;
        };
        if running.stopping.is_none() {
            let deadline = now().saturating_add(grace_ms);
            let terminate_at = match pre_stop {
                PreStop::Nothing => None,
                PreStop::Sleep(ms) => Some(now().saturating_add(ms)),
                // The end of the hook comes sooner.
                PreStop::Hook => Some(deadline),
            };
            running.stopping = Some(Stopping {
                deadline,
                killed: false,
                terminate_at,
            });
            match self.live.get(&name) {
                Some(live) if terminate_at.is_none() => live.process.terminate(),
                _ => self.run_pre_stop(index, grace_ms),
            }
            self.say(Some(&name), Normal, "Killing", format!("{why} {name}"));
        }
    }

    fn spec(&self, index: usize) -> Option<(Role, Container)> {
        plan::containers(&self.seen.pod)
            .nth(index)
            .map(|(role, c)| (role, c.clone()))
    }

    /// Takes in something that happened, unless it is about an earlier run.
    fn hear(&mut self, event: Happened) {
        match event {
            Happened::Exited {
                container,
                attempt,
                exit,
            } => {
                if self.record.container(&container).attempt == attempt {
                    self.ended(&container, exit);
                }
            }
            Happened::Hooked {
                container,
                attempt,
                moment,
                result,
            } => {
                if self.record.container(&container).attempt == attempt {
                    self.hooked(&container, moment, result);
                }
            }
            Happened::Probed {
                container,
                attempt,
                kind,
                ok,
                message,
                grace_ms,
            } => {
                if self.record.container(&container).attempt == attempt {
                    self.probed(&container, kind, ok, &message, grace_ms);
                }
            }
        }
    }

    fn ended(&mut self, container: &str, exit: Exit) {
        self.live.remove(container);
        let Some(record) = self.record.containers.get_mut(container) else {
            return;
        };
        let Some(running) = record.running().cloned() else {
            return;
        };
        record.end(outcome::ended(&running, exit, now()));
        let index = self
            .want
            .containers
            .iter()
            .position(|c| c.name == container);
        let role = index.map_or(Role::Main, |i| self.want.containers[i].role);
        let again = decide::restart_at(&self.want, role, record);
        if again.is_some_and(|at| at - now() >= TOLD_BACK_OFF_MS) && self.want.deadline.is_none() {
            let text = format!(
                "Back-off restarting failed container {container} in pod {}_{}({})",
                self.record.name, self.record.namespace, self.record.uid
            );
            self.say(Some(container), Warning, "BackOff", text);
        }
    }

    fn probed(&mut self, name: &str, kind: Kind, ok: bool, message: &str, grace_ms: Option<i64>) {
        let Some(index) = self.want.containers.iter().position(|c| c.name == name) else {
            return;
        };
        let Some(record) = self.record.containers.get_mut(name) else {
            return;
        };
        match (kind, ok) {
            (Kind::Readiness, ok) => record.ready = ok,
            (Kind::Startup, true) => {
                record.started = true;
                if let Some((role, spec)) = self.spec(index) {
                    self.start_probes(role, &spec);
                }
            }
            (Kind::Liveness, true) => {}
            (Kind::Startup | Kind::Liveness, false) => {
                let grace_ms = grace_ms.unwrap_or(self.want.grace_ms);
                let why =
                    format!("{kind:?} probe failed ({message}), will be restarted: container");
                self.stop(index, grace_ms, &why);
            }
        }
    }

    async fn refresh_volumes(&mut self) -> Stamp {
        let Some(ip) = self.record.ip else {
            return Stamp::MAX;
        };
        if self.want.deadline.is_some() || self.live.is_empty() {
            return Stamp::MAX;
        }
        if self.volumes_due <= now() {
            let pod = self.seen.pod.clone();
            let place = Place {
                agent: &self.agent,
                pod: &pod,
                ip,
                dir: &self.dir,
            };
            let written =
                tokio::time::timeout(START_TIMEOUT, place.write_volumes(&mut self.tokens));
            match written.await {
                Ok(Ok(())) => self.volumes_due = next_refresh(&self.tokens),
                Ok(Err(error)) => {
                    self.volumes_due = now() + REFRESH_RETRY_MS;
                    tracing::warn!(pod = self.record.name, %error, "cannot refresh volumes, will retry");
                }
                Err(_) => self.volumes_due = now() + REFRESH_RETRY_MS,
            }
        }
        self.volumes_due
    }

    /// Puts the status on the board and before the publisher.
    fn publish(&mut self) {
        let previous = self.words.borrow().as_ref().map(|w| w.status.clone());
        let status = status::render(&status::Known {
            pod: &self.seen.pod,
            want: &self.want,
            record: &self.record,
            node_ip: self.agent.node_ip,
            previous: previous.as_ref(),
            now: now(),
        });
        let spots = self.want.containers.iter().map(|c| {
            let record = self.record.container(&c.name);
            let pid = record.running().map(|r| r.pid);
            (
                c.name.clone(),
                Spot {
                    attempt: record.attempt,
                    pid,
                    ready: record.is_ready(c),
                },
            )
        });
        let line = Line {
            namespace: self.record.namespace.clone(),
            name: self.record.name.clone(),
            ip: self.record.ip,
            phase: status.phase.clone().unwrap_or_default(),
            containers: spots.collect(),
        };
        self.agent.board.put(&self.record.uid, line);
        if self.seen.gone {
            return;
        }
        let word = Some(Word {
            status,
            finish: self.finished,
        });
        self.words.send_if_modified(|current| {
            let changed = *current != word;
            *current = word;
            changed
        });
    }

    fn save(&mut self) {
        if self.record != self.saved {
            match self.dir.save(&self.record) {
                Ok(()) => self.saved = self.record.clone(),
                Err(error) => {
                    tracing::error!(pod = self.record.name, %error, "cannot write the pod's record; a restart of the agent would not adopt it");
                }
            }
        }
    }

    fn say(&self, container: Option<&str>, severity: Severity, reason: &'static str, text: String) {
        self.agent
            .events
            .say(&self.seen.pod, container, severity, reason, text);
    }

    /// Nothing is alive and the API has forgotten the pod.
    async fn bury(self) {
        if let Err(error) = self.dir.remove() {
            tracing::warn!(pod = self.record.name, %error, "cannot remove the pod's folder");
        }
        let network = &self.agent.network;
        network.detach(&self.record.uid, self.record.ip).await;
        if let Some(ip) = self.record.ip {
            self.agent.ipam.lock().release(ip);
        }
        self.agent.board.remove(&self.record.uid);
    }
}

fn next_refresh(tokens: &Tokens) -> Stamp {
    let soon = now() + REFRESH_MS;
    tokens.due().map_or(soon, |due| due.min(soon))
}
