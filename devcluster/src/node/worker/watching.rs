//! Live processes: hearing of their end, tending their logs, asking their probes, and adopting
//! those an earlier agent started.

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Container;
use tokio::sync::watch;

use super::super::agent::Agent;
use super::super::events::Severity::Warning;
use super::super::model::Role;
use super::super::probe::{self, Kind};
use super::super::process::{self, Exit, Launch, Process};
use super::super::{logs, plan};
use super::{Happened, Live, Worker};

impl Worker {
    /// Waits for a process's end, tends its log, and asks its probes.
    pub(super) fn watch(
        &mut self,
        role: Role,
        spec: &Container,
        process: Process,
        launch: Option<Launch>,
    ) {
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
                hooks: Vec::new(),
                launch,
            },
        );
        self.start_probes(role, spec);
        self.run_post_start(spec);
    }

    /// The startup probe alone, or, once it has passed, the others.
    pub(super) fn start_probes(&mut self, role: Role, spec: &Container) {
        let launch = self.beside(&spec.name);
        let (Some(ip), Some(launch)) = (self.record.ip, launch) else {
            return;
        };
        let Some(live) = self.live.get_mut(&spec.name) else {
            return;
        };
        let record = self.record.container(&spec.name);
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

    /// The surroundings of a further process in a live container.
    pub(super) fn beside(&self, container: &str) -> Option<Launch> {
        let live = self.live.get(container)?;
        let own = live.launch.clone();
        let mut launch = own.unwrap_or_else(|| process::surroundings(live.process.pid));
        launch.room = self.agent.network.beside(&live.process);
        Some(launch)
    }

    /// Takes hold of what an earlier agent left running; the rest has ended unseen.
    pub(super) fn adopt(&mut self) {
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
}

/// The probes of a container, read.
pub(super) fn checks(
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
            probe::read(kind, probe, spec, ip, |words| command(launch, agent, words))
        })
        .collect()
}

/// A further process of a container.
pub(super) fn command(launch: &Launch, agent: &Agent, words: &[String]) -> Launch {
    let first = words.first().map(String::as_str).unwrap_or_default();
    let path = launch.env.get("PATH").map_or("", String::as_str);
    probe::exec_launch(launch, agent.program(first, path), words)
}
