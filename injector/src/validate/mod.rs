//! Validation of the mesh's own resources, beyond what their schemas can say.
//!
//! A resource that would be ignored, or would mean something else than its author thinks, is
//! refused where the author still sees it. [`check`] is pure; [`answer`] adds the one question
//! that needs the cluster: whether another Server claims the same port.

mod link;
mod policy;
mod profile;
mod route;
#[cfg(test)]
mod tests;

use crate::webhook::{Answer, Request};
use kube::{Api, Client, ResourceExt as _, api::ListParams};
use mesh_api::policy::{Server, ServerSpec};
use serde_json::Value;
use std::time::Duration;

const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// What is wrong with a resource, one sentence each.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) errors: Vec<String>,
    pub(super) warnings: Vec<String>,
}

impl Findings {
    fn error(&mut self, field: &str, problem: impl std::fmt::Display) {
        self.errors.push(format!("{field}: {problem}"));
    }

    fn warn(&mut self, field: &str, problem: impl std::fmt::Display) {
        self.warnings.push(format!("{field}: {problem}"));
    }
}

/// Whether this is a name as Kubernetes has most of them: a DNS label (RFC 1123).
pub(crate) fn is_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !text.is_empty()
        && text.len() <= 63
        && text.chars().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Answers a review of one of our resources. What it does not know it admits.
pub(crate) async fn answer(client: &Client, request: &Request) -> Answer {
    if !matches!(request.operation.as_str(), "CREATE" | "UPDATE") {
        return Answer::default();
    }
    let mut found = check(&request.kind.group, &request.kind.kind, &request.object);
    let is_server = request.kind.group == "policy.linkerd.io" && request.kind.kind == "Server";
    if is_server && found.errors.is_empty() {
        same_port(client, request, &mut found).await;
    }
    Answer {
        refusal: (!found.errors.is_empty()).then(|| found.errors.join("; ")),
        warnings: found.warnings,
        ..Answer::default()
    }
}

/// Looks at a resource by itself.
pub(super) fn check(group: &str, kind: &str, object: &Value) -> Findings {
    let mut found = Findings::default();
    let spec = &object["spec"];
    match (group, kind) {
        ("multicluster.linkerd.io", "Link") => link::check(object, &mut found),
        ("policy.linkerd.io", "Server") => policy::server(spec, &mut found),
        ("policy.linkerd.io", "AuthorizationPolicy") => policy::authorization(object, &mut found),
        ("policy.linkerd.io", "MeshTLSAuthentication") => policy::mesh_tls(spec, &mut found),
        ("policy.linkerd.io", "NetworkAuthentication") => policy::network(spec, &mut found),
        ("policy.linkerd.io", "HTTPLocalRateLimitPolicy") => policy::rate_limit(spec, &mut found),
        ("policy.linkerd.io" | "gateway.networking.k8s.io", "HTTPRoute" | "GRPCRoute") => {
            route::check(object, &mut found);
        }
        ("linkerd.io", "ServiceProfile") => profile::check(object, &mut found),
        _ => {}
    }
    found
}

/// Reads a spec as the type the mesh reads it as; the finding names the field.
fn read<T: serde::de::DeserializeOwned>(spec: &Value, found: &mut Findings) -> Option<T> {
    match serde_json::from_value(spec.clone()) {
        Ok(spec) => Some(spec),
        Err(error) => {
            found.error("spec", error);
            None
        }
    }
}

/// Two Servers for one port of the same pods contradict each other.
async fn same_port(client: &Client, request: &Request, found: &mut Findings) {
    let Ok(spec) = serde_json::from_value::<ServerSpec>(request.object["spec"].clone()) else {
        return;
    };
    let api: Api<Server> = Api::namespaced(client.clone(), &request.namespace);
    let all = ListParams::default();
    let list = api.list(&all);
    // Not being able to ask is no reason to refuse.
    let Ok(Ok(others)) = tokio::time::timeout(ASK_TIMEOUT, list).await else {
        return;
    };
    let name = request.object["metadata"]["name"].as_str();
    for other in others {
        let same = other.spec.port == spec.port && other.spec.pod_selector == spec.pod_selector;
        if same && Some(other.name_any().as_str()) != name {
            let problem = format!(
                "the Server {} selects the same port of the same pods; remove one of them",
                other.name_any()
            );
            found.error("spec", problem);
        }
    }
}
