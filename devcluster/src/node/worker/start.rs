//! Starting a container: everything it needs, then the process, or why not and when to try again.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod};
use kube::Api;

use super::super::events::Severity::{Normal, Warning};
use super::super::launch::{Place, StartError};
use super::super::model::{Ended, Role, State, Waiting, WantContainer, now};
use super::super::process::{self, Launch};
use super::outcome::Failure;
use super::{START_TIMEOUT, Worker, next_refresh, watching};

/// How long a restart may wait for the API server.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);

impl Worker {
    /// Before a restart the API is asked once more: whoever held restarts and then killed must not
    /// lose against a watch that is late.
    pub(super) async fn is_held_by_now(&mut self, index: usize) -> bool {
        let ended =
            |c: &WantContainer| matches!(self.record.container(&c.name).state, State::Ended(_));
        if !self.want.containers.get(index).is_some_and(ended) {
            return false;
        }
        let pods: Api<Pod> = Api::namespaced(self.agent.client.clone(), &self.record.namespace);
        let asked = tokio::time::timeout(ASK_TIMEOUT, pods.get(&self.record.name)).await;
        match asked {
            Ok(Ok(pod)) if pod.metadata.uid.as_deref() == Some(self.record.uid.as_str()) => {
                self.seen.pod = Arc::new(pod);
                self.read_pod();
                self.want.hold || self.want.deadline.is_some()
            }
            // An API server that is away holds nobody's containers down.
            _ => false,
        }
    }

    /// Starts a container, or notes why it did not start and when to try again.
    pub(super) async fn start(&mut self, index: usize) {
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
                record.begin(process.pid, process.ticks, want, now());
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

    pub(super) async fn prepare(
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
        self.agent.network.attach(ip).await?;
        if self.volumes_due == 0 {
            place.write_volumes(&mut self.tokens).await?;
            self.volumes_due = next_refresh(&self.tokens);
        }
        let launch = place.launch(spec, attempt).await?;
        // A probe that cannot be understood is found before the process runs without it.
        watching::checks(role, spec, ip.into(), &launch, &self.agent)?;
        Ok(launch)
    }

    pub(super) fn not_started(&mut self, spec: &Container, failure: &Failure) {
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
}
