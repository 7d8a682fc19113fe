//! Reads a Pod into what decides about it (`Want`). Pure; defaults are those of Kubernetes, for
//! servers that did not fill them in.

use k8s_openapi::api::core::v1::{Container, Pod, Probe};
use mesh_contract::annotations::HOLD_RESTARTS;

use super::hooks;
use super::model::{PodRecord, PreStop, Restart, Role, Stamp, Want, WantContainer};

const DEFAULT_GRACE_S: i64 = 30;

/// What `pod` asks for. `gone` means that the API has forgotten it already.
pub(super) fn want(pod: &Pod, record: &PodRecord, gone: bool, now: Stamp) -> Want {
    let spec = pod.spec.as_ref();
    let grace_ms = grace_s(pod).saturating_mul(1000);
    let deadline = match (gone, record.deleting_since) {
        (false, since) => pod
            .metadata
            .deletion_timestamp
            .as_ref()
            .map(|_| since.unwrap_or(now) + grace_ms),
        (true, since) => Some(since.unwrap_or(now) + grace_ms),
    };
    Want {
        restart: match spec.and_then(|s| s.restart_policy.as_deref()) {
            Some("Never") => Restart::Never,
            Some("OnFailure") => Restart::OnFailure,
            _ => Restart::Always,
        },
        hold: is_held(pod),
        grace_ms,
        deadline,
        containers: containers(pod)
            .map(|(role, c)| want_container(role, c))
            .collect(),
    }
}

/// Containers in the order they start, init containers first.
pub(super) fn containers(pod: &Pod) -> impl Iterator<Item = (Role, &Container)> {
    let spec = pod.spec.as_ref();
    let init = spec
        .and_then(|s| s.init_containers.as_ref())
        .into_iter()
        .flatten();
    let main = spec.map(|s| s.containers.as_slice()).unwrap_or_default();
    let init = init.map(|c| match c.restart_policy.as_deref() {
        Some("Always") => (Role::Sidecar, c),
        _ => (Role::Init, c),
    });
    init.chain(main.iter().map(|c| (Role::Main, c)))
}

/// Whether the pod runs in the machine's own network.
pub(super) fn is_host_network(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|s| s.host_network) == Some(true)
}

/// Probes have no meaning for init containers that run to completion.
pub(super) fn probes(role: Role, c: &Container) -> [Option<&Probe>; 3] {
    if role == Role::Init {
        return [None; 3];
    }
    [
        c.startup_probe.as_ref(),
        c.liveness_probe.as_ref(),
        c.readiness_probe.as_ref(),
    ]
}

fn want_container(role: Role, c: &Container) -> WantContainer {
    let [startup, _, readiness] = probes(role, c);
    WantContainer {
        name: c.name.clone(),
        role,
        startup_probe: startup.is_some(),
        readiness_probe: readiness.is_some(),
        post_start: hooks::post_start(c).is_some(),
        pre_stop: match hooks::pre_stop(c) {
            None => PreStop::Nothing,
            Some(hook) => hooks::sleep_ms(hook).map_or(PreStop::Hook, PreStop::Sleep),
        },
    }
}

fn grace_s(pod: &Pod) -> i64 {
    let asked = pod.metadata.deletion_grace_period_seconds;
    let own = pod
        .spec
        .as_ref()
        .and_then(|s| s.termination_grace_period_seconds);
    asked.or(own).unwrap_or(DEFAULT_GRACE_S).max(0)
}

fn is_held(pod: &Pod) -> bool {
    let annotations = pod.metadata.annotations.as_ref();
    annotations
        .and_then(|a| a.get(HOLD_RESTARTS))
        .is_some_and(|v| v == "true")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(value: serde_json::Value) -> Pod {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn init_containers_come_first_and_native_sidecars_are_told_apart() {
        let p = pod(json!({"metadata": {}, "spec": {
            "initContainers": [{"name": "a"}, {"name": "b", "restartPolicy": "Always",
                "readinessProbe": {"tcpSocket": {"port": 1}}}],
            "containers": [{"name": "c", "startupProbe": {"tcpSocket": {"port": 1}}}]}}));
        let w = want(&p, &PodRecord::default(), false, 0);
        let roles: Vec<_> = w
            .containers
            .iter()
            .map(|c| (c.name.as_str(), c.role))
            .collect();
        assert_eq!(
            roles,
            [("a", Role::Init), ("b", Role::Sidecar), ("c", Role::Main)]
        );
        assert!(w.containers[1].readiness_probe && w.containers[2].startup_probe);
        assert_eq!(
            (w.restart, w.grace_ms, w.deadline),
            (Restart::Always, 30_000, None)
        );
    }

    #[test]
    fn the_deadline_counts_from_when_the_deletion_was_first_seen() {
        let p = pod(
            json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z",
            "deletionGracePeriodSeconds": 3}, "spec": {"containers": []}}),
        );
        assert_eq!(
            want(&p, &PodRecord::default(), false, 1000).deadline,
            Some(4000)
        );
        let seen = PodRecord {
            deleting_since: Some(500),
            ..Default::default()
        };
        assert_eq!(want(&p, &seen, false, 9000).deadline, Some(3500));
    }

    #[test]
    fn a_pod_the_api_has_forgotten_is_to_go() {
        let p = pod(json!({"metadata": {}, "spec": {"containers": [],
            "terminationGracePeriodSeconds": 2}}));
        assert_eq!(
            want(&p, &PodRecord::default(), true, 1000).deadline,
            Some(3000)
        );
    }

    #[test]
    fn hooks_are_waited_for() {
        let p = pod(json!({"metadata": {}, "spec": {"containers": [
            {"name": "a", "lifecycle": {"preStop": {"sleep": {"seconds": 4}}}}, {"name": "b"},
            {"name": "c", "lifecycle": {"preStop": {"exec": {"command": ["x"]}},
                "postStart": {"exec": {"command": ["x"]}}}}]}}));
        let w = want(&p, &PodRecord::default(), false, 0);
        let hooks: Vec<_> = w
            .containers
            .iter()
            .map(|c| (c.post_start, c.pre_stop))
            .collect();
        let wanted = [
            (false, PreStop::Sleep(4000)),
            (false, PreStop::Nothing),
            (true, PreStop::Hook),
        ];
        assert_eq!(hooks, wanted);
    }

    #[test]
    fn restarts_are_held_by_annotation() {
        let p = pod(json!({"metadata": {"annotations": {HOLD_RESTARTS: "true"}},
            "spec": {"containers": [], "restartPolicy": "OnFailure"}}));
        let w = want(&p, &PodRecord::default(), false, 0);
        assert!(w.hold);
        assert_eq!(w.restart, Restart::OnFailure);
    }
}
