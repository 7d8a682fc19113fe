//! Links.

use super::{Findings, is_label};
use mesh_api::link::LinkSpec;
use serde_json::Value;

/// Names of mirrors are `<service>-<cluster>`, a DNS label of at most 63 characters.
const MAX_CLUSTER: usize = 40;

pub(super) fn check(object: &Value, found: &mut Findings) {
    let Some(spec) = super::read::<LinkSpec>(&object["spec"], found) else {
        return;
    };
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let cluster = spec.target_cluster_name.as_deref().unwrap_or(name);
    if !is_label(cluster) || cluster.len() > MAX_CLUSTER {
        found.error(
            "spec.targetClusterName",
            format!(
                "{cluster:?} is not a name of lower-case letters, digits and dashes of at most \
                 {MAX_CLUSTER} characters, which mirrors end in"
            ),
        );
    }
    let gateway = spec.gateway_address.as_deref().unwrap_or_default();
    for address in gateway.split(',').map(str::trim) {
        let host = address.strip_suffix('.').unwrap_or(address);
        let fine = host.parse::<std::net::IpAddr>().is_ok() || host.split('.').all(is_label);
        if !gateway.is_empty() && !fine {
            found.error(
                "spec.gatewayAddress",
                format!("{address:?} is neither an address nor a host name"),
            );
        }
    }
    if !gateway.is_empty() {
        let identity = spec.gateway_identity.as_deref().unwrap_or_default();
        if identity.parse::<mesh_tls::Id>().is_err() {
            found.error(
                "spec.gatewayIdentity",
                format!("{identity:?} is no identity; a gateway must prove one"),
            );
        }
        if spec
            .gateway_port
            .as_ref()
            .is_none_or(|port| port.port().is_none())
        {
            found.error("spec.gatewayPort", "a port number is needed");
        }
    }
    let Some(probe) = &spec.probe_spec else {
        return;
    };
    for (field, period) in [("period", &probe.period), ("timeout", &probe.timeout)] {
        let bad = |period: &mesh_api::link::Period| {
            period.duration().is_none_or(|duration| duration.is_zero())
        };
        if period.as_ref().is_some_and(bad) {
            let field = format!("spec.probeSpec.{field}");
            found.error(&field, "a duration such as 3s is needed");
        }
    }
    if probe.path.as_deref().is_some_and(|path| !path.is_empty())
        && probe.port.as_ref().is_none_or(|port| port.port().is_none())
    {
        found.error("spec.probeSpec.port", "a port number is needed");
    }
}
