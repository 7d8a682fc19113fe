//! What users read when an object is wrong.

use super::{Claim, WEB};
use crate::sandbox::Cluster;

pub const CLAIMS: &[Claim] = &[
    ("an unknown field is named", unknown_field),
    ("a value of the wrong type is named", wrong_type),
    (
        "missing and impossible values are named, all at once",
        invalid,
    ),
    (
        "an unknown kind, version or resource is named",
        unknown_kind,
    ),
    ("objects in the wrong place are refused", misplaced),
    ("bad names, labels and selectors are explained", names),
    ("what cannot change does not", immutable),
];

fn create(c: &Cluster, object: &str) -> String {
    c.fed_fails(&["create", "-f", "-"], object)
}

fn unknown_field(c: &Cluster) {
    let said = c.fed_fails(
        &["apply", "-f", "-"],
        &WEB.replace("replicas: 2", "replica: 2"),
    );
    assert!(
        said.contains("strict decoding error: unknown field \"spec.replica\""),
        "{said}"
    );
    let said = c.feed(
        &["apply", "--validate=warn", "-f", "-"],
        &WEB.replace("replicas: 2", "replica: 2"),
    );
    assert!(
        said.ok && said.err.contains("unknown field \"spec.replica\""),
        "{said:?}"
    );
}

fn wrong_type(c: &Cluster) {
    let said = c.fed_fails(
        &["apply", "-f", "-"],
        &WEB.replace("replicas: 2", "replicas: two"),
    );
    assert!(
        said.contains("(BadRequest)") && said.contains("spec.replicas"),
        "{said}"
    );
}

fn invalid(c: &Cluster) {
    let service = r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"},
        "spec": {"type": "Odd", "ports": [{"port": 99999}]}}"#;
    let said = create(c, service);
    assert!(said.contains("The Service \"x\" is invalid"), "{said}");
    assert!(
        said.contains("spec.ports[0].port: Invalid value: 99999"),
        "{said}"
    );
    assert!(
        said.contains("spec.type: Unsupported value: \"Odd\""),
        "{said}"
    );
    let deployment = r#"{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {
            "metadata": {"labels": {"a": "c"}}, "spec": {"containers": [{"name": "x"}]}}}}"#;
    let said = create(c, deployment);
    assert!(
        said.contains("spec.template.metadata.labels: Invalid value"),
        "{said}"
    );
    assert!(
        said.contains("spec.template.spec.containers[0].image: Required value"),
        "{said}"
    );
    let nameless = create(
        c,
        r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}}"#,
    );
    assert!(
        nameless.contains("name or generateName is required"),
        "{nameless}"
    );
}

fn unknown_kind(c: &Cluster) {
    let said = create(
        c,
        r#"{"apiVersion": "v1", "kind": "Toy", "metadata": {"name": "x"}}"#,
    );
    assert!(
        said.contains("no matches for kind \"Toy\" in version \"v1\""),
        "{said}"
    );
    let said = create(
        c,
        r#"{"apiVersion": "apps/v9", "kind": "Deployment", "metadata": {"name": "x"}}"#,
    );
    assert!(
        said.contains("no matches for kind \"Deployment\" in version \"apps/v9\""),
        "{said}"
    );
    let said = c.fails(&["get", "toys"]);
    assert!(
        said.contains("the server doesn't have a resource type \"toys\""),
        "{said}"
    );
    let raw = [
        "create",
        "--raw",
        "/api/v1/namespaces/default/configmaps",
        "-f",
        "-",
    ];
    let wrong = c.fed_fails(
        &raw,
        r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}}"#,
    );
    assert!(
        wrong.contains("cannot be handled as a ConfigMap"),
        "{wrong}"
    );
    let wrong = c.fed_fails(
        &raw,
        r#"{"apiVersion": "v2", "kind": "ConfigMap", "metadata": {"name": "x"}}"#,
    );
    assert!(
        wrong.contains(
            "the API version in the data (v2) does not match the expected API version (v1)"
        ),
        "{wrong}"
    );
    let broken = c.fed_fails(&raw, "{\"apiVersion\": ");
    assert!(broken.contains("(BadRequest)"), "{broken}");
}

fn misplaced(c: &Cluster) {
    let raw = [
        "create",
        "--raw",
        "/api/v1/namespaces/default/configmaps",
        "-f",
        "-",
    ];
    let elsewhere = r#"{"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "x", "namespace": "elsewhere"}}"#;
    let said = c.fed_fails(&raw, elsewhere);
    assert!(
        said.contains("the namespace of the provided object does not match the namespace sent"),
        "{said}"
    );
    let said = create(c, elsewhere);
    assert!(
        said.contains("namespaces \"elsewhere\" not found"),
        "{said}"
    );
    let raw = [
        "replace",
        "--raw",
        "/api/v1/namespaces/default/configmaps/y",
        "-f",
        "-",
    ];
    let said = c.fed_fails(&raw, &elsewhere.replace("elsewhere", "default"));
    assert!(
        said.contains("the name of the object (x) does not match the name on the URL (y)"),
        "{said}"
    );
}

fn names(c: &Cluster) {
    let said = c.fails(&["create", "configmap", "Not_A_Name"]);
    assert!(
        said.contains("metadata.name: Invalid value: \"Not_A_Name\""),
        "{said}"
    );
    let label = r#"{"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "x", "labels": {"a b": "c"}}}"#;
    let said = create(c, label);
    assert!(
        said.contains("metadata.labels: Invalid value: \"a b\""),
        "{said}"
    );
    let said = c.fails(&["get", "--raw", "/api/v1/pods?labelSelector=a%20in"]);
    assert!(said.contains("unable to parse requirement"), "{said}");
}

fn immutable(c: &Cluster) {
    c.fed(&["apply", "-f", "-"], WEB);
    let patch = r#"{"spec":{"selector":{"matchLabels":{"app":"other"}}}}"#;
    let said = c.fails(&["patch", "deploy", "web", "--type=merge", "-p", patch]);
    assert!(said.contains("field is immutable"), "{said}");
    let patch = r#"{"metadata":{"name":"other"}}"#;
    let said = c.fails(&["patch", "deploy", "web", "--type=merge", "-p", patch]);
    assert!(
        said.contains("does not match the name on the URL"),
        "{said}"
    );
    let patch = r#"{"metadata":{"resourceVersion":"1"}}"#;
    let said = c.fails(&["patch", "deploy", "web", "--type=merge", "-p", patch]);
    assert!(said.contains("the object has been modified"), "{said}");
}
