//! What became of a start or a run, as a container status puts it. Pure.

use super::super::launch::StartError;
use super::super::model::{Ended, Running, Stamp, Waiting};
use super::super::process::Exit;
use super::super::volumes::VolumeError;

/// `ErrImagePull` stays this long before it becomes `ImagePullBackOff`.
const PULL_MS: i64 = 10_000;
const MAX_PULL_MS: i64 = 300_000;
const CONFIG_RETRY_MS: i64 = 250;
const MAX_CONFIG_RETRY_MS: i64 = 10_000;

/// Why a start failed, as a container status puts it.
pub(super) struct Failure {
    reason: &'static str,
    /// The event's reason.
    pub(super) event: &'static str,
    message: String,
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let (reason, event) = match &error {
            StartError::Image(_) => ("ErrImagePull", "Failed"),
            StartError::Volume(VolumeError::Unsupported { .. })
            | StartError::Environment(_)
            | StartError::Probe(_)
            | StartError::Privileges(_) => ("CreateContainerConfigError", "Failed"),
            // As in Kubernetes the container is still being created: this may pass.
            StartError::Volume(_) => ("ContainerCreating", "FailedMount"),
            StartError::Network(_) => ("ContainerCreating", "FailedCreatePodSandBox"),
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
    pub(super) fn slow() -> Self {
        Self {
            reason: "CreateContainerError",
            event: "Failed",
            message: "the API server did not answer in time".to_owned(),
        }
    }

    /// The state after one more failure.
    pub(super) fn waiting(&self, before: &Waiting, at: Stamp) -> Waiting {
        let tries = before.tries.saturating_add(1);
        let doubled = 1_i64 << (tries - 1).min(20);
        if self.reason != "ErrImagePull" {
            let retry_at = at + (CONFIG_RETRY_MS * doubled).min(MAX_CONFIG_RETRY_MS);
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

/// How a run ended.
pub(super) fn ended(running: &Running, exit: Exit, at: Stamp) -> Ended {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(reason: &'static str) -> Failure {
        Failure {
            reason,
            event: "Failed",
            message: "no such thing".to_owned(),
        }
    }

    #[test]
    fn an_unknown_image_is_err_image_pull_first_and_then_backs_off() {
        let failure = failure("ErrImagePull");
        let first = failure.waiting(&Waiting::default(), 0);
        assert_eq!(
            (first.reason.as_str(), first.retry_at),
            ("ErrImagePull", 10_000)
        );
        let second = failure.waiting(&first, 10_000);
        assert_eq!(
            (second.reason.as_str(), second.retry_at),
            ("ImagePullBackOff", 30_000)
        );
        assert!(second.message.contains("no such thing"));
        let much_later = Waiting {
            tries: u32::MAX - 1,
            ..second
        };
        assert_eq!(failure.waiting(&much_later, 0).retry_at, 300_000);
    }

    #[test]
    fn what_may_heal_soon_is_tried_again_soon() {
        let failure = failure("CreateContainerConfigError");
        let first = failure.waiting(&Waiting::default(), 0);
        assert_eq!(first.retry_at, 250);
        assert_eq!(
            failure.waiting(&Waiting { tries: 30, ..first }, 0).retry_at,
            10_000
        );
    }

    #[test]
    fn ends_are_told_as_kubernetes_tells_them() {
        let running = Running {
            pid: 5,
            ticks: 1,
            since: 10,
            stopping: None,
        };
        let table = [
            (Exit::Code(0), 0, None, "Completed"),
            (Exit::Code(3), 3, None, "Error"),
            (Exit::Signal(9), 137, Some(9), "Error"),
            (Exit::Unknown, 137, None, "ContainerStatusUnknown"),
        ];
        for (exit, code, signal, reason) in table {
            let ended = ended(&running, exit, 20);
            assert_eq!(
                (ended.code, ended.signal, ended.reason.as_str()),
                (code, signal, reason)
            );
            assert_eq!((ended.started, ended.finished), (10, 20));
        }
    }
}
