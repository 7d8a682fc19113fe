//! Servers, and who may use them.

use super::{Findings, is_label};
use ipnet::IpNet;
use mesh_api::policy::{
    AuthorizationPolicySpec, GROUP, MeshTLSAuthenticationSpec, NetworkAuthenticationSpec, Port,
    ServerSpec,
};
use serde_json::Value;
use std::net::IpAddr;

pub(super) fn server(spec: &Value, found: &mut Findings) {
    let Some(server) = super::read::<ServerSpec>(spec, found) else {
        return;
    };
    match &server.port {
        Port::Number(0) => found.error("spec.port", "0 is no port"),
        Port::Name(name) if !is_port_name(name) => found.error(
            "spec.port",
            format!("{name:?} is neither a number nor the name of a container port"),
        ),
        _ => {}
    }
    for expression in server.pod_selector.match_expressions.iter().flatten() {
        let values = expression.values.as_ref().map_or(0, Vec::len);
        let wants_values = matches!(expression.operator.as_str(), "In" | "NotIn");
        if wants_values != (values > 0) {
            found.error(
                "spec.podSelector",
                format!(
                    "{} of {:?} {} values",
                    expression.operator,
                    expression.key,
                    if wants_values { "needs" } else { "takes no" }
                ),
            );
        }
    }
}

pub(super) fn authorization(object: &Value, found: &mut Findings) {
    let Some(policy) = super::read::<AuthorizationPolicySpec>(&object["spec"], found) else {
        return;
    };
    let target = &policy.target_ref;
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
    if target.is("", "Namespace") {
        if !namespace.is_empty() && target.name != namespace {
            found.error(
                "spec.targetRef.name",
                format!("a policy reaches only its own namespace, {namespace}"),
            );
        }
    } else if !(target.is(GROUP, "Server")
        || target.is(GROUP, "HTTPRoute")
        || target.is("gateway.networking.k8s.io", "HTTPRoute")
        || target.is("gateway.networking.k8s.io", "GRPCRoute"))
    {
        found.error(
            "spec.targetRef",
            format!(
                "{} of group {:?} cannot be protected; a Server, a route or the Namespace can",
                target.kind,
                target.group.as_deref().unwrap_or_default()
            ),
        );
    }
    let (mut identities, mut networks) = (0, 0);
    for reference in &policy.required_authentication_refs {
        if reference.is(GROUP, "MeshTLSAuthentication") || reference.is("", "ServiceAccount") {
            identities += 1;
        } else if reference.is(GROUP, "NetworkAuthentication") {
            networks += 1;
        } else {
            found.error(
                "spec.requiredAuthenticationRefs",
                format!(
                    "{} is no authentication; MeshTLSAuthentication, NetworkAuthentication and \
                     ServiceAccount are",
                    reference.kind
                ),
            );
        }
    }
    if identities > 1 || networks > 1 {
        found.error(
            "spec.requiredAuthenticationRefs",
            "all of them must hold at once, so at most one MeshTLSAuthentication or \
             ServiceAccount and one NetworkAuthentication make sense; use several policies for \
             alternatives",
        );
    }
}

pub(super) fn mesh_tls(spec: &Value, found: &mut Findings) {
    let Some(authentication) = super::read::<MeshTLSAuthenticationSpec>(spec, found) else {
        return;
    };
    let identities = authentication.identities.unwrap_or_default();
    let references = authentication.identity_refs.unwrap_or_default();
    if identities.is_empty() && references.is_empty() {
        found.error("spec", "identities or identityRefs must name somebody");
    }
    for identity in &identities {
        let exact = identity.strip_prefix("*.").unwrap_or(identity);
        if identity != "*" && exact.parse::<mesh_tls::Id>().is_err() {
            found.error("spec.identities", format!("{identity:?} is no identity"));
        }
    }
    for reference in &references {
        if !(reference.is("", "ServiceAccount") || reference.is("", "Namespace")) {
            found.error(
                "spec.identityRefs",
                format!("{} has no identity; ServiceAccounts have", reference.kind),
            );
        }
    }
}

pub(super) fn network(spec: &Value, found: &mut Findings) {
    let Some(authentication) = super::read::<NetworkAuthenticationSpec>(spec, found) else {
        return;
    };
    if authentication.networks.is_empty() {
        found.error("spec.networks", "at least one network is needed");
    }
    for network in &authentication.networks {
        let Some(cidr) = parse(&network.cidr) else {
            found.error(
                "spec.networks.cidr",
                format!("{:?} is no network", network.cidr),
            );
            continue;
        };
        for except in network.except.iter().flatten() {
            match parse(except) {
                None => found.error("spec.networks.except", format!("{except:?} is no network")),
                Some(part) if !cidr.contains(&part) => found.error(
                    "spec.networks.except",
                    format!("{except} is not a part of {}", network.cidr),
                ),
                Some(part) if part == cidr => found.warn(
                    "spec.networks.except",
                    format!("nothing of {} is left", network.cidr),
                ),
                Some(_) => {}
            }
        }
    }
}

pub(super) fn rate_limit(spec: &Value, found: &mut Findings) {
    let target = &spec["targetRef"];
    if target["kind"] != "Server" {
        found.error("spec.targetRef.kind", "only Servers can be limited");
    }
    let limits = ["total", "identity"];
    let rates = limits.iter().map(|key| (*key, &spec[*key]));
    let overrides = spec["overrides"].as_array().into_iter().flatten();
    let all = rates
        .filter(|(_, limit)| !limit.is_null())
        .chain(overrides.map(|limit| ("overrides", limit)));
    let mut count = 0;
    for (field, limit) in all {
        count += 1;
        if limit["requestsPerSecond"]
            .as_u64()
            .is_none_or(|rate| rate == 0)
        {
            found.error(
                &format!("spec.{field}.requestsPerSecond"),
                "a whole number above 0 is needed",
            );
        }
    }
    if count == 0 {
        found.error("spec", "no limit is set: total, identity or overrides");
    }
}

fn parse(text: &str) -> Option<IpNet> {
    let net = text.parse::<IpNet>().ok();
    net.or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

fn is_port_name(name: &str) -> bool {
    is_label(name) && name.len() <= 15 && name.chars().any(|c| c.is_ascii_lowercase())
}
