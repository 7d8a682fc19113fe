//! What happens right after a container's start (postStart) and before its end (preStop). Called by
//! the worker, which decides what becomes of the container.

use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler};

use super::probe::{self, ProbeError, Question};
use super::process::Launch;

/// A hook after a start that never ends is given up.
pub(super) const LONGEST: Duration = Duration::from_secs(600);

/// A hook, read.
#[derive(Clone, Debug)]
pub(super) enum Hook {
    Sleep(Duration),
    Ask(Question),
}

/// What follows a container's start.
pub(super) fn post_start(container: &Container) -> Option<&LifecycleHandler> {
    container.lifecycle.as_ref()?.post_start.as_ref()
}

/// What comes before its end.
pub(super) fn pre_stop(container: &Container) -> Option<&LifecycleHandler> {
    container.lifecycle.as_ref()?.pre_stop.as_ref()
}

/// How long a hook sleeps; `None` if it does something else.
pub(super) fn sleep_ms(hook: &LifecycleHandler) -> Option<i64> {
    let sleep = hook.sleep.as_ref()?;
    Some(sleep.seconds.max(0).saturating_mul(1000))
}

/// Reads a hook. `exec` makes the command line of an exec hook.
pub(super) fn read(
    hook: &LifecycleHandler,
    container: &Container,
    ip: IpAddr,
    exec: impl FnOnce(&[String]) -> Launch,
) -> Result<Hook, ProbeError> {
    if let Some(ms) = sleep_ms(hook) {
        let ms = u64::try_from(ms).unwrap_or_default();
        return Ok(Hook::Sleep(Duration::from_millis(ms)));
    }
    let (http, tcp, command) = (&hook.http_get, &hook.tcp_socket, &hook.exec);
    let question = probe::question((http, tcp, command), container, ip, exec)?;
    question.map(Hook::Ask).ok_or(ProbeError::Hook)
}

impl Hook {
    /// Does it, within a time.
    pub(super) async fn run(self, limit: Duration) -> Result<(), String> {
        match self {
            Self::Sleep(time) => {
                tokio::time::sleep(time.min(limit)).await;
                Ok(())
            }
            Self::Ask(question) => probe::ask(&question, limit).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read_from(hook: Value) -> Result<Hook, ProbeError> {
        let container: Container = serde_json::from_value(json!({"name": "c",
            "ports": [{"name": "web", "containerPort": 80}],
            "lifecycle": {"postStart": hook}}))
        .unwrap();
        let hook = post_start(&container).unwrap();
        let exec = |words: &[String]| Launch {
            program: words[0].clone().into(),
            ..Launch::default()
        };
        read(hook, &container, [10, 0, 0, 2].into(), exec)
    }

    #[test]
    fn hooks_sleep_run_programs_or_ask_the_container() {
        let sleep = read_from(json!({"sleep": {"seconds": 3}})).unwrap();
        assert!(matches!(sleep, Hook::Sleep(time) if time == Duration::from_secs(3)));
        let exec = read_from(json!({"exec": {"command": ["/bin/true"]}})).unwrap();
        let Hook::Ask(Question::Exec(launch)) = exec else {
            panic!("{exec:?}");
        };
        assert_eq!(launch.program, std::path::Path::new("/bin/true"));
        let get = read_from(json!({"httpGet": {"port": "web", "path": "/x"}})).unwrap();
        let Hook::Ask(Question::Http { host, port, .. }) = get else {
            panic!("{get:?}");
        };
        assert_eq!((host.as_str(), port), ("10.0.0.2", 80));
        assert!(read_from(json!({})).is_err());
    }

    #[tokio::test]
    async fn a_hook_does_not_outlast_its_limit() {
        let hook = Hook::Sleep(Duration::from_secs(3600));
        let ended = hook.run(Duration::from_millis(1));
        let patience = Duration::from_secs(60);
        tokio::time::timeout(patience, ended)
            .await
            .unwrap()
            .unwrap();
    }
}
