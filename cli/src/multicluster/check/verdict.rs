//! What is said of a gateway, given what was found. Pure.

use crate::{checks::Outcome, gateway::Unreachable, output::said_once};
use hyper::StatusCode;
use kube::ResourceExt as _;
use mesh_api::link::Link;
use mesh_contract::names;

/// The condition of a Link that says whether its gateway answers probes.
pub(super) const GATEWAY_ALIVE: &str = "GatewayAlive";

/// What the service mirror found.
pub(super) fn probed(namespace: &str, link: &Link) -> Outcome {
    let name = link.name_any();
    let status = link.status.as_ref();
    let mut conditions = status.iter().flat_map(|status| &status.conditions);
    let condition = conditions.find(|condition| condition.type_ == GATEWAY_ALIVE);
    let gateway = status.and_then(|status| status.gateway.as_ref());
    let alive = gateway.map(|gateway| gateway.alive.as_str());
    match (condition.map(|condition| condition.status.as_str()), alive) {
        (Some("False"), _) | (_, Some("False")) => Outcome::Error {
            cause: match condition {
                Some(condition) => format!("{}: {}", condition.reason, condition.message),
                None => "it does not".into(),
            },
            remedy: format!(
                "see that it runs and that this cluster reaches it: kubectl --context {name} -n {} \
                 get pods,service {}; kubectl -n {namespace} describe link {name}",
                names::MULTICLUSTER_NS,
                names::GATEWAY
            ),
        },
        (_, Some("True")) => Outcome::Success,
        _ => Outcome::Warning {
            cause: "the service mirror has not probed it yet, or the Link asks for no probes"
                .into(),
            remedy: format!(
                "wait for a probe; kubectl -n {namespace} get link {name} -o yaml shows the last"
            ),
        },
    }
}

/// Why a request did not go through a gateway.
#[derive(Debug)]
pub(super) enum Failure {
    /// The gateway gave no answer, or one that no gateway should give.
    Gateway(anyhow::Error),
    /// The gateway answered that the service behind it does not.
    Service(anyhow::Error),
}

/// What the way of a request says, where the service mirror's probes say `alive`.
pub(super) fn outcome(went: Result<(), Failure>, alive: bool, name: &str) -> Outcome {
    let (error, remedy) = match went {
        Ok(()) => return Outcome::Success,
        Err(Failure::Service(error)) => {
            return Outcome::Warning {
                cause: said_once(&error),
                remedy: format!("the gateway works; look at the service in the cluster {name:?}"),
            };
        }
        Err(Failure::Gateway(error)) => (
            error,
            format!(
                "look at the gateway's log there: kubectl --context {name} -n {} logs deployment/{} \
                 -c {}",
                names::MULTICLUSTER_NS,
                names::GATEWAY,
                names::PROXY_CONTAINER
            ),
        ),
    };
    let cause = said_once(&error);
    if alive && error.is::<Unreachable>() {
        return Outcome::Warning {
            cause,
            remedy: "the service mirror reaches it: run this from where the cluster's pods run to \
                     try it"
                .into(),
        };
    }
    Outcome::Error { cause, remedy }
}

/// What an answer says where the service `name` was asked for: one of the service's own is fine.
pub(super) fn served(
    name: &str,
    status: StatusCode,
    proxy_error: Option<&str>,
) -> Result<(), Failure> {
    let Some(error) = proxy_error else {
        return Ok(());
    };
    let error = anyhow::anyhow!("asked for {name}, it answered {status}: {error}");
    Err(match status {
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            Failure::Service(error)
        }
        _ => Failure::Gateway(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn kind(outcome: &Outcome) -> &'static str {
        match outcome {
            Outcome::Success => "success",
            Outcome::Warning { .. } => "warning",
            Outcome::Error { .. } => "error",
        }
    }

    #[test]
    fn a_gateway_that_gives_no_answer_is_an_error_unless_only_the_way_from_here_is_missing() {
        let unreachable = || {
            let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
            let address = ([192, 0, 2, 1], 4143).into();
            Failure::Gateway(anyhow::Error::new(refused).context(Unreachable(address)))
        };
        let silent = || Failure::Gateway(anyhow::anyhow!("no mTLS"));
        let down = || served("web", StatusCode::SERVICE_UNAVAILABLE, Some("no endpoint"));
        let refused = || served("web", StatusCode::FORBIDDEN, Some("unauthorized"));
        for (went, alive, expected) in [
            (Ok(()), false, "success"),
            (Err(unreachable()), true, "warning"),
            (Err(unreachable()), false, "error"),
            (Err(silent()), true, "error"),
            (Err(silent()), false, "error"),
            (down(), true, "warning"),
            (refused(), true, "error"),
            (served("web", StatusCode::NOT_FOUND, None), true, "success"),
        ] {
            let said = format!("{went:?}, alive: {alive}");
            assert_eq!(kind(&outcome(went, alive, "east")), expected, "{said}");
        }
    }

    #[test]
    fn a_gateway_that_is_dead_to_the_service_mirror_is_an_error_that_says_why() {
        let link = |status: serde_json::Value| -> Link {
            serde_json::from_value(json!({
                "apiVersion": "multicluster.linkerd.io/v1alpha3", "kind": "Link",
                "metadata": {"name": "east"}, "spec": {}, "status": status,
            }))
            .unwrap()
        };
        let gateway = |alive: &str| json!({"alive": alive, "services": 0});
        let condition = |status: &str, reason: &str| {
            json!([{"type": "GatewayAlive", "status": status, "reason": reason,
                    "message": "no answer from 192.0.2.1"}])
        };
        for (status, expected, cause) in [
            (json!({"gateway": gateway("True")}), "success", ""),
            (
                json!({"gateway": gateway("Unknown")}),
                "warning",
                "not probed",
            ),
            (json!({}), "warning", "not probed"),
            (json!({"gateway": gateway("False")}), "error", "it does not"),
            (
                json!({"gateway": gateway("False"), "conditions": condition("False", "ProbesFail")}),
                "error",
                "ProbesFail: no answer from 192.0.2.1",
            ),
            (
                json!({"conditions": condition("False", "InvalidGateway")}),
                "error",
                "InvalidGateway: no answer",
            ),
        ] {
            let found = probed("mc", &link(status));
            assert_eq!(kind(&found), expected, "{found:?}");
            assert!(format!("{found:?}").contains(cause), "{found:?}");
        }
    }
}
