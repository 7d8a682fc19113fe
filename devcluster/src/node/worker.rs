//! One pod's worker: asks `decide` what to do, does it, tells the publisher, waits for the next
//! thing to happen. Everything that blocks on the API is bounded; the records on disk are written
//! before anyone is told.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use super::agent::{Agent, Line, Spot};
use super::decide::{self, Action};
use super::disk::PodDir;
use super::events::Severity::{self, Normal, Warning};
use super::launch::{Place, StartError};
use super::model::{Ended, PodRecord, Role, Running, Stamp, State, Stopping, Waiting, Want, now};
use super::probe::{self, Kind};
use super::process::{self, Exit, Launch, Process};
use super::publisher::{Subject, Word, publish};
use super::volumes::Tokens;
use super::{logs, plan, status};

/// How often volumes are compared with what they show.
const REFRESH_MS: i64 = 30_000;
/// A start may wait for the API server this long before it counts as failed.
const START_TIMEOUT: Duration = Duration::from_secs(15);
/// `ErrImagePull` stays this long before it becomes `ImagePullBackOff`.
const PULL_MS: i64 = 10_000;
const MAX_PULL_MS: i64 = 300_000;
const MAX_CONFIG_RETRY_MS: i64 = 10_000;

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
    /// How it was started; not known of an adopted one.
    launch: Option<Launch>,
}

impl Drop for Live {
    fn drop(&mut self) {
        self.probes.iter().for_each(AbortHandle::abort);
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
    worker.bury();
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
                self.start(index).await;
                true
            }
            Action::Stop { index, grace_ms } => {
                self.stop(index, grace_ms, "Stopping container");
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
        let name = self.want.containers[index].name.clone();
        let Some(record) = self.record.containers.get_mut(&name) else {
            return;
        };
        let State::Running(running) = &mut record.state else {
            return;
        };
        if running.stopping.is_none() {
            let deadline = now().saturating_add(grace_ms);
            running.stopping = Some(Stopping {
                deadline,
                killed: false,
            });
            if let Some(live) = self.live.get(&name) {
                live.process.terminate();
            }
            self.say(Some(&name), Normal, "Killing", format!("{why} {name}"));
        }
    }

    fn spec(&self, index: usize) -> Option<(Role, Container)> {
        plan::containers(&self.seen.pod)
            .nth(index)
            .map(|(role, c)| (role, c.clone()))
    }

    /// Starts a container, or notes why it did not start and when to try again.
    async fn start(&mut self, index: usize) {
        let Some((role, spec)) = self.spec(index) else {
            return;
        };
        let attempt = self.record.container(&spec.name).attempt + 1;
        let prepared =
            tokio::time::timeout(START_TIMEOUT, self.prepare(role, &spec, attempt)).await;
        let launch = match prepared {
            Ok(Ok(launch)) => launch,
            Ok(Err(error)) => return self.not_started(&spec, &error.into()),
            Err(_) => return self.not_started(&spec, &Failure::slow()),
        };
        let record = self.record.containers.entry(spec.name.clone()).or_default();
        if matches!(record.state, State::Ended(_)) {
            record.back_off = record.back_off.saturating_add(1);
        }
        record.attempt = attempt;
        let _logs_only = self.dir.forget_logs_before(&spec.name, attempt);
        let image = spec.image.clone().unwrap_or_default();
        match process::spawn(&launch) {
            Ok(process) => {
                let want = &self.want.containers[index];
                record.begin(process.pid, process.ticks, want.startup_probe, now());
                self.save();
                self.say(
                    Some(&spec.name),
                    Normal,
                    "Pulled",
                    format!(
                        "Container image {image:?} is a program on this machine: {}",
                        launch.program.display()
                    ),
                );
                self.say(
                    Some(&spec.name),
                    Normal,
                    "Created",
                    format!("Created container: {}", spec.name),
                );
                self.say(
                    Some(&spec.name),
                    Normal,
                    "Started",
                    format!("Started container {}", spec.name),
                );
                self.watch(role, &spec, process, Some(launch));
            }
            Err(error) => {
                let message = format!("cannot run {}: {error}", launch.program.display());
                let at = now();
                if let State::Ended(ended) = &record.state {
                    record.last = Some(ended.clone());
                }
                record.end(Ended {
                    pid: 0,
                    code: 128,
                    signal: None,
                    started: at,
                    finished: at,
                    reason: "StartError".to_owned(),
                    message: message.clone(),
                });
                self.say(
                    Some(&spec.name),
                    Warning,
                    "Failed",
                    format!("Error: {message}"),
                );
                self.save();
            }
        }
    }

    async fn prepare(
        &mut self,
        role: Role,
        spec: &Container,
        attempt: u32,
    ) -> Result<Launch, StartError> {
        let Some(ip) = self.record.ip else {
            return Err(std::io::Error::other("the node has no pod addresses left").into());
        };
        // Asked first: no volume is needed to say that an image is unknown.
        self.agent
            .images
            .find(spec.image.as_deref().unwrap_or_default())?;
        let pod = self.seen.pod.clone();
        let place = Place {
            agent: &self.agent,
            pod: &pod,
            ip,
            dir: &self.dir,
        };
        if self.volumes_due == 0 {
            place.write_volumes(&mut self.tokens).await?;
            self.volumes_due = next_refresh(&self.tokens);
        }
        let launch = place.launch(spec, attempt).await?;
        // A probe that cannot be understood is found before the process runs without it.
        checks(role, spec, ip.into(), &launch, &self.agent)?;
        Ok(launch)
    }

    fn not_started(&mut self, spec: &Container, failure: &Failure) {
        let record = self.record.containers.entry(spec.name.clone()).or_default();
        let waiting = match &record.state {
            State::Waiting(w) => w.clone(),
            State::Ended(ended) => {
                record.last = Some(ended.clone());
                Waiting::default()
            }
            State::Running(_) => return,
        };
        let next = failure.waiting(&waiting, now());
        if next.reason != waiting.reason || next.message != waiting.message {
            let reason = if next.reason == "ImagePullBackOff" {
                "BackOff"
            } else {
                failure.event
            };
            self.say(Some(&spec.name), Warning, reason, next.message.clone());
        }
        let record = self.record.containers.entry(spec.name.clone()).or_default();
        record.state = State::Waiting(next);
        self.save();
    }

    /// Waits for a process's end, tends its log, and asks its probes.
    fn watch(&mut self, role: Role, spec: &Container, process: Process, launch: Option<Launch>) {
        let process = Arc::new(process);
        let name = spec.name.clone();
        let attempt = self.record.container(&name).attempt;
        let (held, out, container) = (process.clone(), self.happened.clone(), name.clone());
        let (ended, end) = watch::channel(false);
        tokio::spawn(async move {
            let exit = held.exited().await;
            let _log_is_tended = ended.send(true);
            let _worker_gone = out
                .send(Happened::Exited {
                    container,
                    attempt,
                    exit,
                })
                .await;
        });
        if let Ok(log) = self.dir.log(&name, attempt) {
            let mut end = end;
            tokio::spawn(logs::tend(log, async move {
                let _ended_or_dropped = end.wait_for(|ended| *ended).await;
            }));
        }
        self.live.insert(
            name,
            Live {
                process,
                probes: Vec::new(),
                launch,
            },
        );
        self.start_probes(role, spec);
    }

    /// The startup probe alone, or, once it has passed, the others.
    fn start_probes(&mut self, role: Role, spec: &Container) {
        let (Some(ip), Some(live)) = (self.record.ip, self.live.get_mut(&spec.name)) else {
            return;
        };
        let record = self.record.container(&spec.name);
        let launch = live
            .launch
            .clone()
            .unwrap_or_else(|| process::surroundings(live.process.pid));
        let all = checks(role, spec, ip.into(), &launch, &self.agent).unwrap_or_default();
        live.probes.drain(..).for_each(|p| p.abort());
        for check in all
            .into_iter()
            .filter(|c| (c.kind == Kind::Startup) != record.started)
        {
            let (kind, grace_ms) = (check.kind, check.grace_ms);
            let (out, container, attempt) =
                (self.happened.clone(), spec.name.clone(), record.attempt);
            let tell = move |ok, message| {
                let (out, container) = (out.clone(), container.clone());
                async move {
                    let event = Happened::Probed {
                        container,
                        attempt,
                        kind,
                        ok,
                        message,
                        grace_ms,
                    };
                    let _worker_gone = out.send(event).await;
                }
            };
            let (events, pod, name) = (
                self.agent.events.clone(),
                self.seen.pod.clone(),
                spec.name.clone(),
            );
            let fault = move |message: &str| {
                let text = format!("{kind:?} probe failed: {message}");
                events.say(&pod, Some(&name), Warning, "Unhealthy", text);
            };
            live.probes
                .push(tokio::spawn(probe::watch(check, tell, fault)).abort_handle());
        }
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
        record.end(ended(&running, exit, now()));
        let index = self
            .want
            .containers
            .iter()
            .position(|c| c.name == container);
        let role = index.map_or(Role::Main, |i| self.want.containers[i].role);
        let again = decide::restart_at(&self.want, role, record);
        if again.is_some_and(|at| at - now() >= 900) && self.want.deadline.is_none() {
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

    /// Takes hold of what an earlier agent left running; the rest has ended unseen.
    fn adopt(&mut self) {
        let marker = self.agent.marker();
        let specs: Vec<(Role, Container)> = plan::containers(&self.seen.pod)
            .map(|(r, c)| (r, c.clone()))
            .collect();
        for (name, record) in self.record.containers.clone() {
            let Some(running) = record.running() else {
                continue;
            };
            match process::adopt(running.pid, running.ticks, &marker) {
                Some(process) => {
                    tracing::info!(
                        pod = self.record.name,
                        container = name,
                        pid = running.pid,
                        "adopted"
                    );
                    let spec = specs.iter().find(|(_, c)| c.name == name);
                    // A pod the API has forgotten may be known by its record only.
                    let fallback = Container {
                        name: name.clone(),
                        ..Default::default()
                    };
                    let (role, spec) =
                        spec.map_or((Role::Main, fallback), |(r, c)| (*r, c.clone()));
                    self.watch(role, &spec, process, None);
                }
                None => self.ended(&name, Exit::Unknown),
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
                    self.volumes_due = now() + MAX_CONFIG_RETRY_MS;
                    tracing::warn!(pod = self.record.name, %error, "cannot refresh volumes, will retry");
                }
                Err(_) => self.volumes_due = now() + MAX_CONFIG_RETRY_MS,
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
    fn bury(self) {
        if let Err(error) = self.dir.remove() {
            tracing::warn!(pod = self.record.name, %error, "cannot remove the pod's folder");
        }
        if let Some(ip) = self.record.ip {
            self.agent.ipam.lock().release(ip);
        }
        self.agent.board.remove(&self.record.uid);
    }
}

/// Why a start failed, as a container status puts it.
struct Failure {
    reason: &'static str,
    event: &'static str,
    message: String,
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let (reason, event) = match &error {
            StartError::Image(_) => ("ErrImagePull", "Failed"),
            StartError::Volume(super::volumes::VolumeError::Unsupported { .. })
            | StartError::Environment(_)
            | StartError::Probe(_) => ("CreateContainerConfigError", "Failed"),
            // As in Kubernetes the container is still being created: this may pass.
            StartError::Volume(_) => ("ContainerCreating", "FailedMount"),
            StartError::Api(_) | StartError::Io(_) => ("CreateContainerError", "Failed"),
        };
        Self {
            reason,
            event,
            message: error.to_string(),
        }
    }
}

impl Failure {
    fn slow() -> Self {
        Self {
            reason: "CreateContainerError",
            event: "Failed",
            message: "the API server did not answer in time".to_owned(),
        }
    }

    /// The state after one more failure.
    fn waiting(&self, before: &Waiting, at: Stamp) -> Waiting {
        let tries = before.tries.saturating_add(1);
        let doubled = 1_i64 << (tries - 1).min(20);
        if self.reason != "ErrImagePull" {
            let retry_at = at + (250 * doubled).min(MAX_CONFIG_RETRY_MS);
            let (reason, message) = (self.reason.to_owned(), self.message.clone());
            return Waiting {
                reason,
                message,
                retry_at,
                tries,
            };
        }
        let retry_at = at + (PULL_MS * doubled).min(MAX_PULL_MS);
        let (reason, message) = if tries == 1 {
            ("ErrImagePull", self.message.clone())
        } else {
            (
                "ImagePullBackOff",
                format!("Back-off pulling image: ErrImagePull: {}", self.message),
            )
        };
        Waiting {
            reason: reason.to_owned(),
            message,
            retry_at,
            tries,
        }
    }
}

fn ended(running: &Running, exit: Exit, at: Stamp) -> Ended {
    let (code, signal, reason, message) = match exit {
        Exit::Code(0) => (0, None, "Completed", ""),
        Exit::Code(code) => (code, None, "Error", ""),
        Exit::Signal(signal) => (128 + signal, Some(signal), "Error", ""),
        Exit::Unknown => (
            137,
            None,
            "ContainerStatusUnknown",
            "the process ended while the node agent was away or not its parent; its exit code is not known",
        ),
    };
    Ended {
        pid: running.pid,
        code,
        signal,
        started: running.since,
        finished: at,
        reason: reason.to_owned(),
        message: message.to_owned(),
    }
}

fn checks(
    role: Role,
    spec: &Container,
    ip: IpAddr,
    launch: &Launch,
    agent: &Agent,
) -> Result<Vec<probe::Check>, probe::ProbeError> {
    let kinds = [Kind::Startup, Kind::Liveness, Kind::Readiness];
    let probes = kinds.into_iter().zip(plan::probes(role, spec));
    probes
        .filter_map(|(kind, probe)| Some((kind, probe?)))
        .map(|(kind, probe)| {
            probe::read(kind, probe, spec, ip, |words| {
                let first = words.first().map(String::as_str).unwrap_or_default();
                let path = launch.env.get("PATH").map_or("", String::as_str);
                let program = process::which(&agent.images.command(first), path);
                probe::exec_launch(launch, program, words)
            })
        })
        .collect()
}

fn next_refresh(tokens: &Tokens) -> Stamp {
    let soon = now() + REFRESH_MS;
    tokens.due().map_or(soon, |due| due.min(soon))
}
