//! Hooks of live containers: starting them, and what their end means.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler};

use super::super::events::Severity::Warning;
use super::super::hooks::{self, Hook};
use super::super::model::{PreStop, State, now};
use super::super::probe::ProbeError;
use super::{Happened, Worker};

/// Which of the hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    PostStart,
    PreStop,
}

impl Worker {
    /// Runs the postStart hook of a container that has just started, or was adopted in the middle
    /// of it: done twice is better than never.
    pub(super) fn run_post_start(&mut self, spec: &Container) {
        if !self.record.container(&spec.name).hooked {
            return;
        }
        match hooks::post_start(spec) {
            Some(hook) => self.run_hook(spec, hook, Moment::PostStart, hooks::LONGEST),
            None => self.hooked(&spec.name, Moment::PostStart, Ok(())),
        }
    }

    /// Runs the preStop hook, unless it is one that only takes time.
    pub(super) fn run_pre_stop(&mut self, index: usize, grace_ms: i64) {
        let asks = self.want.containers.get(index).map(|c| c.pre_stop) == Some(PreStop::Hook);
        let spec = self.spec(index).map(|(_, spec)| spec);
        if let Some(spec) = spec.filter(|_| asks)
            && let Some(hook) = hooks::pre_stop(&spec)
        {
            let limit = Duration::from_millis(u64::try_from(grace_ms).unwrap_or_default());
            self.run_hook(&spec, hook, Moment::PreStop, limit);
        }
    }

    fn run_hook(
        &mut self,
        spec: &Container,
        hook: &LifecycleHandler,
        moment: Moment,
        limit: Duration,
    ) {
        let read = self.read_hook(spec, hook);
        let (out, container) = (self.happened.clone(), spec.name.clone());
        let attempt = self.record.container(&spec.name).attempt;
        let run = tokio::spawn(async move {
            let result = match read {
                Ok(hook) => hook.run(limit).await,
                Err(error) => Err(error.to_string()),
            };
            let event = Happened::Hooked {
                container,
                attempt,
                moment,
                result,
            };
            let _worker_gone = out.send(event).await;
        });
        if let Some(live) = self.live.get_mut(&spec.name) {
            live.hooks.push(run.abort_handle());
        }
    }

    fn read_hook(&self, spec: &Container, hook: &LifecycleHandler) -> Result<Hook, ProbeError> {
        let launch = self.beside(&spec.name);
        let (Some(ip), Some(launch)) = (self.record.ip, launch) else {
            return Err(ProbeError::Hook);
        };
        hooks::read(hook, spec, ip.into(), |words| {
            super::watching::command(&launch, &self.agent, words)
        })
    }

    /// A hook is over, well or not.
    pub(super) fn hooked(&mut self, name: &str, moment: Moment, result: Result<(), String>) {
        if let Err(why) = &result {
            let reason = match moment {
                Moment::PostStart => "FailedPostStartHook",
                Moment::PreStop => "FailedPreStopHook",
            };
            let text = format!("{moment:?}Hook failed: {why}");
            self.say(Some(name), Warning, reason, text);
        }
        let Some(record) = self.record.containers.get_mut(name) else {
            return;
        };
        match moment {
            Moment::PreStop => {
                if let State::Running(running) = &mut record.state
                    && let Some(stopping) = &mut running.stopping
                    && stopping.terminate_at.is_some()
                {
                    stopping.terminate_at = Some(now());
                }
            }
            Moment::PostStart if result.is_ok() => record.hooked = false,
            // As in Kubernetes: a container whose hook fails is no good.
            Moment::PostStart => {
                let index = self.want.containers.iter().position(|c| c.name == name);
                if let Some(index) = index {
                    let grace_ms = self.want.grace_ms;
                    self.stop(index, grace_ms, "FailedPostStartHook: stopping container");
                }
            }
        }
    }
}
