//! What a Link's status says. Pure, but for the time that is passed in.

use crate::plan::{Plan, Problem, Report};
use mesh_api::link::{Condition, GatewayStatus, LinkStatus, ServiceRef, ServiceStatus};
use mesh_clusters::{Connection, Liveness, RemoteState, Trust};
use mesh_contract::names;

/// The status of the Link called `link`. Times of conditions that did not change are kept.
pub(crate) fn status(link: &str, remote: &RemoteState, plan: &Plan, now: &str) -> LinkStatus {
    let before = remote.link.status.clone().unwrap_or_default();
    let generation = remote.link.metadata.generation;
    let services = |federated: bool, before: &[ServiceStatus]| -> Vec<ServiceStatus> {
        // What stays as it was is told as it was.
        if !remote.snapshot.synced {
            return before.to_vec();
        }
        plan.reports
            .iter()
            .filter(|report| report.link == link && report.federated == federated)
            .map(|report| service(report, before, now))
            .collect()
    };
    let conditions = [
        accepted(plan.rejected.get(link)),
        connected(&remote.connection),
        trusted(&remote.trust),
        gateway_alive(remote),
        gateway_resolved(remote),
    ];
    let mirror_services = services(false, &before.mirror_services);
    let federated_services = services(true, &before.federated_services);
    LinkStatus {
        gateway: gateway(remote, &[&mirror_services, &federated_services]),
        mirror_services,
        federated_services,
        conditions: conditions
            .into_iter()
            .flatten()
            .map(|condition| Condition {
                observed_generation: generation,
                ..timed(condition, &before.conditions, now)
            })
            .collect(),
    }
}

/// Whether two statuses differ in more than how long a probe took.
pub(crate) fn differs(a: &LinkStatus, b: &LinkStatus) -> bool {
    let without_latency = |status: &LinkStatus| {
        let mut status = status.clone();
        if let Some(gateway) = status.gateway.as_mut() {
            gateway.latency_ms = gateway.latency_ms.map(|_| 0);
        }
        status
    };
    without_latency(a) != without_latency(b)
}

fn gateway(remote: &RemoteState, services: &[&[ServiceStatus]]) -> Option<GatewayStatus> {
    let gateway = remote.gateway.as_ref()?;
    let mirrored = services
        .iter()
        .flat_map(|services| services.iter())
        .filter(|service| service.local_ref.is_some())
        .count();
    let latency = gateway.latency.map(|l| l.as_millis().max(1));
    Some(GatewayStatus {
        alive: gateway.liveness.as_str().to_owned(),
        latency_ms: latency.and_then(|ms| i64::try_from(ms).ok()),
        services: i64::try_from(mirrored).unwrap_or(i64::MAX),
    })
}

fn service(report: &Report, before: &[ServiceStatus], now: &str) -> ServiceStatus {
    let reference = |name: &str| ServiceRef {
        group: String::new(),
        kind: "Service".to_owned(),
        name: name.to_owned(),
        namespace: report.remote.0.clone(),
    };
    let remote_ref = reference(&report.remote.1);
    let known = before.iter().find(|status| status.remote_ref == remote_ref);
    let condition = match &report.result {
        Ok(message) => condition("Mirrored", "True", "Mirrored", message),
        Err(problem) => condition("Mirrored", "False", problem.reason, &problem.message),
    };
    let conditions = known
        .map(|status| status.conditions.as_slice())
        .unwrap_or_default();
    ServiceStatus {
        controller_name: names::MIRROR_CONTROLLER.to_owned(),
        conditions: vec![timed(condition, conditions, now)],
        local_ref: report.local.as_deref().map(reference),
        remote_ref,
    }
}

fn accepted(problem: Option<&Problem>) -> Option<Condition> {
    Some(match problem {
        None => condition("Accepted", "True", "Accepted", ""),
        Some(problem) => condition("Accepted", "False", problem.reason, &problem.message),
    })
}

fn connected(connection: &Connection) -> Option<Condition> {
    Some(match connection {
        Connection::Connecting => condition(
            "Connected",
            "Unknown",
            "Connecting",
            "its API server is being listed",
        ),
        Connection::Connected => condition("Connected", "True", "Watching", ""),
        Connection::Failed { reason, message } => condition("Connected", "False", reason, message),
    })
}

fn trusted(trust: &Trust) -> Option<Condition> {
    Some(match trust {
        Trust::Unknown => condition("TrustShared", "Unknown", "NotCompared", ""),
        Trust::Unreadable(error) => condition("TrustShared", "Unknown", "Unreadable", error),
        Trust::Shared => condition("TrustShared", "True", "SharedAnchor", ""),
        Trust::Foreign => condition(
            "TrustShared",
            "False",
            "ForeignAnchors",
            "no trust anchor is in both clusters' bundles, so mTLS between them fails: install \
             both with the same --identity-trust-anchors-file",
        ),
    })
}

fn gateway_alive(remote: &RemoteState) -> Option<Condition> {
    if let Some(error) = &remote.gateway_error {
        return Some(condition("GatewayAlive", "False", "InvalidGateway", error));
    }
    let gateway = remote.gateway.as_ref()?;
    let error = gateway.probe_error.as_deref().unwrap_or_default();
    Some(match gateway.liveness {
        Liveness::Unknown => condition("GatewayAlive", "Unknown", "NotProbed", error),
        Liveness::Alive => condition("GatewayAlive", "True", "Answers", ""),
        Liveness::Dead => condition("GatewayAlive", "False", "ProbesFail", error),
    })
}

fn gateway_resolved(remote: &RemoteState) -> Option<Condition> {
    let gateway = remote.gateway.as_ref()?;
    Some(match &gateway.resolve_error {
        None => condition("GatewayResolved", "True", "Resolved", ""),
        Some(error) => condition(
            "GatewayResolved",
            "False",
            "NotResolved",
            &format!("{error}: check the Link's gatewayAddress, and this cluster's DNS"),
        ),
    })
}

fn condition(type_: &str, status: &str, reason: &str, message: &str) -> Condition {
    Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        ..Condition::default()
    }
}

/// The time of the last transition is that of `before` while the status is the same.
fn timed(condition: Condition, before: &[Condition], now: &str) -> Condition {
    let same = before
        .iter()
        .find(|known| known.type_ == condition.type_ && known.status == condition.status);
    let since = same.and_then(|known| known.last_transition_time.clone());
    Condition {
        last_transition_time: since.or_else(|| Some(now.to_owned())),
        ..condition
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_keeps_its_time_until_its_status_changes() {
        let before = [Condition {
            last_transition_time: Some("then".into()),
            ..condition("Connected", "True", "Watching", "")
        }];
        let same = timed(
            condition("Connected", "True", "Other", "new words"),
            &before,
            "now",
        );
        assert_eq!(same.last_transition_time.as_deref(), Some("then"));
        let changed = timed(
            condition("Connected", "False", "Unreachable", ""),
            &before,
            "now",
        );
        assert_eq!(changed.last_transition_time.as_deref(), Some("now"));
    }

    #[test]
    fn a_slower_probe_is_no_reason_to_write() {
        let status = |latency, alive: &str| LinkStatus {
            gateway: Some(GatewayStatus {
                alive: alive.into(),
                latency_ms: Some(latency),
                services: 1,
            }),
            ..LinkStatus::default()
        };
        assert!(!differs(&status(1, "True"), &status(9, "True")));
        assert!(differs(&status(1, "True"), &status(1, "False")));
    }
}
