//! Writes what a real kube-apiserver publishes about the kinds the embedded API server serves, for
//! `kubectl explain`: `cargo run -p kind-e2e --example openapi -- devcluster/src/apiserver/openapi/builtin.json`.

use kind_e2e::assets;
use kind_e2e::control_plane::{Config, ControlPlane};
use serde_json::{Map, Value, json};
use std::error::Error;

/// Group versions, and the kinds of each that are served.
const SERVED: &[(&str, &[&str])] = &[
    (
        "api/v1",
        &[
            "ConfigMap",
            "Event",
            "Namespace",
            "Node",
            "Pod",
            "Secret",
            "ServiceAccount",
            "Service",
        ],
    ),
    ("apis/apps/v1", &["Deployment", "ReplicaSet", "StatefulSet"]),
    ("apis/discovery.k8s.io/v1", &["EndpointSlice"]),
    ("apis/coordination.k8s.io/v1", &["Lease"]),
    ("apis/events.k8s.io/v1", &["Event"]),
    (
        "apis/admissionregistration.k8s.io/v1",
        &[
            "MutatingWebhookConfiguration",
            "ValidatingWebhookConfiguration",
        ],
    ),
    (
        "apis/apiextensions.k8s.io/v1",
        &["CustomResourceDefinition"],
    ),
    ("apis/policy/v1", &["PodDisruptionBudget"]),
    (
        "apis/rbac.authorization.k8s.io/v1",
        &["Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"],
    ),
    (
        "apis/authentication.k8s.io/v1",
        &["TokenReview", "SelfSubjectReview"],
    ),
    (
        "apis/authorization.k8s.io/v1",
        &[
            "SubjectAccessReview",
            "SelfSubjectAccessReview",
            "SelfSubjectRulesReview",
            "LocalSubjectAccessReview",
        ],
    ),
];

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("which file to write?")?;
    let config = Config {
        controllers: false,
        ..Config::default()
    };
    let plane = ControlPlane::start(&assets::all()?, config)?;
    let mut kept = Map::new();
    for (group_version, kinds) in SERVED {
        let url = format!("/openapi/v3/{group_version}");
        let output = plane.kubectl().args(["get", "--raw", &url]).output()?;
        let document: Value = serde_json::from_slice(&output.stdout)?;
        let schemas = document["components"]["schemas"]
            .as_object()
            .ok_or("no schemas")?;
        for (name, schema) in schemas {
            let about = schema["x-kubernetes-group-version-kind"].as_array();
            let root = about.into_iter().flatten().any(|gvk| {
                let group = gvk["group"].as_str().unwrap_or_default();
                let place = if group.is_empty() {
                    "api".to_owned()
                } else {
                    format!("apis/{group}")
                };
                *group_version == format!("{place}/{}", gvk["version"].as_str().unwrap_or_default())
                    && kinds.iter().any(|kind| gvk["kind"] == **kind)
            });
            if root {
                keep(name, schemas, &mut kept);
            }
        }
    }
    let kept = json!({"release": assets::release(), "schemas": kept});
    std::fs::write(path, format!("{kept}\n"))?;
    Ok(())
}

/// A schema, and those it refers to.
fn keep(name: &str, schemas: &Map<String, Value>, kept: &mut Map<String, Value>) {
    let Some(schema) = schemas.get(name).filter(|_| !kept.contains_key(name)) else {
        return;
    };
    kept.insert(name.to_owned(), schema.clone());
    let mut todo = vec![schema];
    while let Some(value) = todo.pop() {
        match value {
            Value::Object(map) => {
                if let Some(target) = map.get("$ref").and_then(Value::as_str) {
                    keep(target.rsplit('/').next().unwrap_or_default(), schemas, kept);
                }
                todo.extend(map.values());
            }
            Value::Array(items) => todo.extend(items),
            _ => {}
        }
    }
}
