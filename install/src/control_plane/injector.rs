//! The admission webhooks.
//!
//! What they may lock out is bounded here: the system's namespaces, the control plane's and those
//! whose users switched webhooks off are never asked about, and by default an unreachable webhook
//! is ignored.

use super::{NAMESPACE, component_labels};
use crate::{
    rbac::{self, READ, Rule},
    template::when,
    workload::{self, Daemon},
};
use mesh_contract::{annotations, names, ports};
use serde_json::{Value, json};

pub(super) fn templates() -> Vec<Value> {
    let labels = component_labels("proxy-injector");
    let mut out = vec![rbac::service_account(names::INJECTOR, NAMESPACE, &labels)];
    out.extend(access(&labels));
    out.push(workload::service(
        (names::INJECTOR, NAMESPACE),
        "proxy-injector",
        &labels,
        ("https", 443, ports::WEBHOOK),
        false,
    ));
    out.extend(workload::deployment(&Daemon {
        name: names::INJECTOR,
        namespace: NAMESPACE,
        component: "proxy-injector",
        labels: &labels,
        args: vec![
            json!("injector"),
            json!("--controller-namespace=${release.namespace}"),
            json!(format!("--addr=0.0.0.0:{}", ports::WEBHOOK)),
            when("proxyInjector.externalSecret", json!("--external-secret")),
            when("proxyInjector.caBundle", json!("--external-ca-bundle")),
            when(
                "proxyInjector.injectCaFrom && !proxyInjector.caBundle",
                json!("--external-ca-bundle"),
            ),
            when(
                "proxyInjector.injectCaFromSecret && !proxyInjector.injectCaFrom \
                 && !proxyInjector.caBundle",
                json!("--external-ca-bundle"),
            ),
        ],
        ports: &[("https", ports::WEBHOOK)],
        admin_port: ports::INJECTOR_ADMIN,
        identity_token: false,
        replicas: json!("${controllerReplicas}"),
        resources: Some("proxyInjectorResources"),
        placed: true,
        published_anchors: false,
    }));
    out.push(mutating(&labels));
    out.push(validating(&labels));
    let wanted = |template| when("proxyInjector.enabled", template);
    out.into_iter().map(wanted).collect()
}

fn access(labels: &Value) -> Vec<Value> {
    let account = (names::INJECTOR, NAMESPACE);
    let webhooks = "admissionregistration.k8s.io";
    let mut out = Vec::new();
    out.extend(rbac::cluster_role(
        "linkerd-${release.namespace}-proxy-injector",
        account,
        labels,
        &[
            Rule::new("", &["namespaces"], READ),
            Rule::new("apps", &["replicasets"], &["get"]),
            Rule::new("batch", &["jobs"], &["get"]),
            Rule::new("events.k8s.io", &["events"], &["create", "patch"]),
            Rule::new("policy.linkerd.io", &["servers"], &["list"]),
            Rule::new(
                webhooks,
                &["mutatingwebhookconfigurations"],
                &["get", "list", "watch", "patch"],
            )
            .named(&[names::INJECTOR_WEBHOOK_CONFIG]),
            Rule::new(
                webhooks,
                &["validatingwebhookconfigurations"],
                &["get", "list", "watch", "patch"],
            )
            .named(&[names::VALIDATOR_WEBHOOK_CONFIG]),
        ],
    ));
    out.extend(rbac::role(
        account,
        account,
        labels,
        &[
            Rule::new("", &["configmaps"], READ).named(&[names::CONFIG, names::TRUST_ROOTS]),
            // Creating cannot be limited to a name.
            Rule::new("", &["secrets"], &["create"]),
            Rule::new("", &["secrets"], &["get", "list", "watch", "update"])
                .named(&[names::INJECTOR_TLS]),
        ],
    ));
    out
}

fn mutating(labels: &Value) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": metadata(names::INJECTOR_WEBHOOK_CONFIG, labels),
        "webhooks": [{
            "name": "linkerd-proxy-injector.linkerd.io",
            "namespaceSelector": namespaces("proxyInjector.namespaceSelector"),
            "objectSelector": "${proxyInjector.objectSelector}",
            "clientConfig": client("/inject"),
            "failurePolicy": "${webhookFailurePolicy}",
            "matchPolicy": "Equivalent",
            "reinvocationPolicy": "Never",
            "admissionReviewVersions": ["v1"],
            "rules": [rule("", &["v1"], &["pods", "services"], &["CREATE"])],
            // Events, and none on a dry run.
            "sideEffects": "NoneOnDryRun",
            "timeoutSeconds": "${proxyInjector.timeoutSeconds}",
        }],
    })
}

fn validating(labels: &Value) -> Value {
    const CHANGES: &[&str] = &["CREATE", "UPDATE"];
    let policy = [
        "servers",
        "authorizationpolicies",
        "meshtlsauthentications",
        "networkauthentications",
        "httproutes",
        "httplocalratelimitpolicies",
    ];
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": metadata(names::VALIDATOR_WEBHOOK_CONFIG, labels),
        "webhooks": [{
            "name": "linkerd-policy-validator.linkerd.io",
            "namespaceSelector": namespaces("policyValidator.namespaceSelector"),
            "clientConfig": client("/validate"),
            "failurePolicy": "${webhookFailurePolicy}",
            "matchPolicy": "Equivalent",
            "admissionReviewVersions": ["v1"],
            "rules": [
                rule("policy.linkerd.io", &["*"], &policy, CHANGES),
                rule("multicluster.linkerd.io", &["*"], &["links"], CHANGES),
                rule("linkerd.io", &["*"], &["serviceprofiles"], CHANGES),
                rule("gateway.networking.k8s.io", &["*"], &["httproutes", "grpcroutes"], CHANGES),
            ],
            "sideEffects": "None",
            "timeoutSeconds": "${proxyInjector.timeoutSeconds}",
        }],
    })
}

fn metadata(name: &str, labels: &Value) -> Value {
    json!({
        "name": name,
        "labels": labels,
        "annotations": {
            annotations::CREATED_BY: "${release.createdBy}",
            "cert-manager.io/inject-ca-from":
                when("proxyInjector.injectCaFrom", json!("${proxyInjector.injectCaFrom}")),
            "cert-manager.io/inject-ca-from-secret": when(
                "proxyInjector.injectCaFromSecret",
                json!("${proxyInjector.injectCaFromSecret}"),
            ),
        },
    })
}

/// Where the API server finds us. Whom to trust is written by the injector itself, unless told.
fn client(path: &str) -> Value {
    json!({
        "service": { "name": names::INJECTOR, "namespace": NAMESPACE, "path": path, "port": 443 },
        "caBundle": when("proxyInjector.caBundle", json!("${proxyInjector.caBundle|base64}")),
    })
}

/// The user's conditions, and never the namespaces a cluster needs to start at all.
fn namespaces(value: &str) -> Value {
    json!({ "matchExpressions": [
        {
            "key": "kubernetes.io/metadata.name",
            "operator": "NotIn",
            "values": ["kube-system", "kube-node-lease", "cert-manager", NAMESPACE],
        },
        format!("${{{value}.matchExpressions...}}"),
    ]})
}

fn rule(group: &str, versions: &[&str], resources: &[&str], operations: &[&str]) -> Value {
    json!({
        "apiGroups": [group],
        "apiVersions": versions,
        "resources": resources,
        "operations": operations,
        "scope": "Namespaced",
    })
}
