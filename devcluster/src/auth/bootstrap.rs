//! The roles and bindings every cluster starts with. Existing ones are left as they are.

use super::rbac::GROUP;
use crate::status::ApiError;
use crate::store::{ResourceKey, Store};
use serde_json::{Value, json};

const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["create", "delete", "deletecollection", "patch", "update"];

/// Makes what is missing.
pub fn bootstrap(store: &Store) -> Result<(), ApiError> {
    for (name, label, body) in cluster_roles() {
        let mut role = object("ClusterRole", name);
        if let Some(label) = label {
            role["metadata"]["labels"][label] = json!("true");
        }
        for (key, value) in body.as_object().into_iter().flatten() {
            role[key] = value.clone();
        }
        ensure(store, "clusterroles", role)?;
    }
    let bindings: &[(&str, &str, &[&str])] = &[
        ("cluster-admin", "cluster-admin", &["system:masters"]),
        (
            "system:discovery",
            "system:discovery",
            &["system:authenticated"],
        ),
        (
            "system:basic-user",
            "system:basic-user",
            &["system:authenticated"],
        ),
        (
            "system:public-info-viewer",
            "system:public-info-viewer",
            &["system:authenticated", "system:unauthenticated"],
        ),
        ("system:node", "system:node", &["system:nodes"]),
    ];
    for (name, role, groups) in bindings {
        let mut binding = object("ClusterRoleBinding", name);
        binding["roleRef"] = json!({"apiGroup": GROUP, "kind": "ClusterRole", "name": role});
        let subject = |g: &&str| json!({"apiGroup": GROUP, "kind": "Group", "name": g});
        binding["subjects"] = groups.iter().map(subject).collect();
        ensure(store, "clusterrolebindings", binding)?;
    }
    Ok(())
}

fn object(kind: &str, name: &str) -> Value {
    json!({"apiVersion": format!("{GROUP}/v1"), "kind": kind, "metadata": {
        "name": name, "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"}}})
}

fn ensure(store: &Store, plural: &str, obj: Value) -> Result<(), ApiError> {
    match store.create(&ResourceKey::new(GROUP, plural), obj) {
        Err(taken) if taken.reason != "AlreadyExists" => Err(taken),
        _ => Ok(()),
    }
}

fn rule(groups: &[&str], resources: &[&str], verbs: &[&str]) -> Value {
    json!({"apiGroups": groups, "resources": resources, "verbs": verbs})
}

fn paths(urls: &[&str]) -> Value {
    json!({"nonResourceURLs": urls, "verbs": ["get"]})
}

fn aggregated(label: &str) -> Value {
    let selector = json!([{"matchLabels": {label: "true"}}]);
    json!({"rules": [], "aggregationRule": {"clusterRoleSelectors": selector}})
}

const TO_ADMIN: &str = "rbac.authorization.k8s.io/aggregate-to-admin";
const TO_EDIT: &str = "rbac.authorization.k8s.io/aggregate-to-edit";
const TO_VIEW: &str = "rbac.authorization.k8s.io/aggregate-to-view";

/// Name, the aggregated role it belongs to, and its rules.
fn cluster_roles() -> Vec<(&'static str, Option<&'static str>, Value)> {
    let everything = json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]});
    let everywhere = json!({"nonResourceURLs": ["*"], "verbs": ["*"]});
    let health = ["/healthz", "/livez", "/readyz", "/version", "/version/"];
    let discovery = [
        "/api",
        "/api/*",
        "/apis",
        "/apis/*",
        "/openapi",
        "/openapi/*",
    ];
    let rules = |rules: Value| json!({"rules": rules});
    let authn = "authentication.k8s.io";
    let authz = "authorization.k8s.io";
    let node_core = [
        "nodes",
        "nodes/status",
        "pods",
        "pods/status",
        "services",
        "events",
    ];
    vec![
        (
            "cluster-admin",
            None,
            rules(json!([everything, everywhere])),
        ),
        ("admin", None, {
            let mut role = aggregated(TO_ADMIN);
            let others = [
                json!({"matchLabels": {TO_EDIT: "true"}}),
                json!({"matchLabels": {TO_VIEW: "true"}}),
            ];
            if let Some(list) = role["aggregationRule"]["clusterRoleSelectors"].as_array_mut() {
                list.extend(others);
            }
            role
        }),
        ("edit", None, {
            let mut role = aggregated(TO_EDIT);
            let view = json!({"matchLabels": {TO_VIEW: "true"}});
            if let Some(list) = role["aggregationRule"]["clusterRoleSelectors"].as_array_mut() {
                list.push(view);
            }
            role
        }),
        ("view", None, aggregated(TO_VIEW)),
        (
            "system:aggregate-to-admin",
            Some(TO_ADMIN),
            rules(json!([
                rule(
                    &[GROUP],
                    &["roles", "rolebindings"],
                    &[READ, WRITE].concat()
                ),
                rule(&[authz], &["localsubjectaccessreviews"], &["create"]),
            ])),
        ),
        (
            "system:aggregate-to-edit",
            Some(TO_EDIT),
            rules(json!([
                rule(
                    &[""],
                    &[
                        "configmaps",
                        "pods",
                        "secrets",
                        "serviceaccounts",
                        "services"
                    ],
                    WRITE
                ),
                rule(&[""], &["secrets"], READ),
                rule(
                    &[""],
                    &["serviceaccounts/token", "pods/eviction"],
                    &["create"]
                ),
                rule(
                    &["apps"],
                    &[
                        "deployments",
                        "deployments/scale",
                        "replicasets",
                        "replicasets/scale"
                    ],
                    WRITE
                ),
                rule(
                    &["coordination.k8s.io"],
                    &["leases"],
                    &[READ, WRITE].concat()
                ),
            ])),
        ),
        (
            "system:aggregate-to-view",
            Some(TO_VIEW),
            rules(json!([
                rule(
                    &[""],
                    &[
                        "configmaps",
                        "events",
                        "namespaces",
                        "pods",
                        "pods/log",
                        "pods/status",
                        "serviceaccounts",
                        "services",
                        "services/status"
                    ],
                    READ
                ),
                rule(
                    &["apps"],
                    &[
                        "deployments",
                        "deployments/scale",
                        "deployments/status",
                        "replicasets",
                        "replicasets/scale",
                        "replicasets/status"
                    ],
                    READ
                ),
                rule(&["discovery.k8s.io"], &["endpointslices"], READ),
            ])),
        ),
        (
            "system:discovery",
            None,
            rules(json!([paths(&[&health[..], &discovery[..]].concat())])),
        ),
        (
            "system:public-info-viewer",
            None,
            rules(json!([paths(&health)])),
        ),
        (
            "system:basic-user",
            None,
            rules(json!([
                rule(
                    &[authz],
                    &["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
                    &["create"]
                ),
                rule(&[authn], &["selfsubjectreviews"], &["create"]),
            ])),
        ),
        (
            "system:auth-delegator",
            None,
            rules(json!([
                rule(&[authn], &["tokenreviews"], &["create"]),
                rule(&[authz], &["subjectaccessreviews"], &["create"]),
            ])),
        ),
        (
            "system:node",
            None,
            rules(json!([
                rule(&[""], &node_core, &[READ, WRITE].concat()),
                rule(
                    &[""],
                    &["configmaps", "secrets", "serviceaccounts", "namespaces"],
                    READ
                ),
                rule(
                    &[""],
                    &["serviceaccounts/token", "pods/binding", "pods/eviction"],
                    &["create"]
                ),
                rule(
                    &["events.k8s.io"],
                    &["events"],
                    &["create", "patch", "update"]
                ),
                rule(
                    &["coordination.k8s.io"],
                    &["leases"],
                    &[READ, WRITE].concat()
                ),
                rule(&["discovery.k8s.io"], &["endpointslices"], READ),
                rule(&[authn], &["tokenreviews"], &["create"]),
                rule(&[authz], &["subjectaccessreviews"], &["create"]),
            ])),
        ),
    ]
}
