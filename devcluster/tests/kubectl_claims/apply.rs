//! `apply`, in the client and in the server.

use super::{Claim, WEB};
use crate::sandbox::Cluster;

pub const CLAIMS: &[Claim] = &[
    ("apply twice changes nothing the second time", unchanged),
    ("apply changes and removes fields and list items", changed),
    ("apply keeps what others set", keeps),
    (
        "apply --server-side merges, and removes what it gives up",
        server_side,
    ),
    (
        "apply --server-side reports conflicts with manager and field",
        conflicts,
    ),
    ("apply moves from the client's side to the server's", moves),
    ("apply --dry-run=server and diff change nothing", dry_run),
    ("apply --prune=false of a list applies every item", lists),
];

fn path(c: &Cluster, kind: &str, path: &str) -> String {
    c.ok(&["get", kind, "web", "-o", &format!("jsonpath={path}")])
}

fn unchanged(c: &Cluster) {
    let first = c.fed(&["apply", "-f", "-"], WEB);
    assert_eq!(first, "service/web created\ndeployment.apps/web created\n");
    let version = path(c, "service", "{.metadata.resourceVersion}");
    let second = c.fed(&["apply", "-f", "-"], WEB);
    assert_eq!(
        second,
        "service/web unchanged\ndeployment.apps/web unchanged\n"
    );
    assert_eq!(path(c, "service", "{.metadata.resourceVersion}"), version);
}

fn changed(c: &Cluster) {
    c.fed(&["apply", "-f", "-"], WEB);
    let other = WEB
        .replace("replicas: 2", "replicas: 3")
        .replace(
            r#"{name: A, value: "1"}, {name: B, value: "1"}"#,
            r#"{name: B, value: "2"}"#,
        )
        .replace(r#"      - {name: side, image: "mesh.io/pause"}"#, "")
        .replace("targetPort: 8080", "targetPort: 9090")
        .replace(
            "metadata: {name: web, labels: {app: web}}",
            "metadata: {name: web}",
        );
    let said = c.fed(&["apply", "-f", "-"], &other);
    assert_eq!(
        said,
        "service/web configured\ndeployment.apps/web configured\n"
    );
    assert_eq!(path(c, "deploy", "{.spec.replicas}"), "3");
    let spec = "{.spec.template.spec.containers[*]";
    assert_eq!(path(c, "deploy", &format!("{spec}.name}}")), "web");
    assert_eq!(path(c, "deploy", &format!("{spec}.env[*].name}}")), "B");
    assert_eq!(path(c, "deploy", &format!("{spec}.env[*].value}}")), "2");
    assert_eq!(path(c, "deploy", "{.metadata.labels.app}"), "");
    assert_eq!(path(c, "service", "{.spec.ports[*].targetPort}"), "9090");
    assert_ne!(
        path(c, "service", "{.spec.clusterIP}"),
        "",
        "what was allocated stays"
    );
}

fn keeps(c: &Cluster) {
    c.fed(&["apply", "-f", "-"], WEB);
    c.ok(&["annotate", "deploy", "web", "by=somebody"]);
    let more = r#"{"spec":{"template":{"spec":{"containers":[{"name":"web","env":[{"name":"C","value":"3"}]}]}}}}"#;
    c.ok(&["patch", "deploy", "web", "-p", more]);
    c.fed(
        &["apply", "-f", "-"],
        &WEB.replace("replicas: 2", "replicas: 1"),
    );
    assert_eq!(path(c, "deploy", "{.metadata.annotations.by}"), "somebody");
    let env = path(
        c,
        "deploy",
        "{.spec.template.spec.containers[0].env[*].name}",
    );
    let mut env: Vec<&str> = env.split(' ').collect();
    env.sort_unstable();
    assert_eq!(env, ["A", "B", "C"]);
}

const APPLY: &[&str] = &["apply", "--server-side", "-f", "-"];

fn server_side(c: &Cluster) {
    let said = c.fed(APPLY, WEB);
    assert_eq!(
        said,
        "service/web serverside-applied\ndeployment.apps/web serverside-applied\n"
    );
    let by_other = r#"{"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "web", "annotations": {"by": "other"}},
        "spec": {"ports": [{"name": "admin", "port": 81, "protocol": "TCP"}]}}"#;
    let other = &["apply", "--server-side", "--field-manager=other", "-f", "-"];
    c.fed(other, by_other);
    assert_eq!(path(c, "service", "{.spec.ports[*].port}"), "80 81");
    c.fed(APPLY, WEB);
    assert_eq!(path(c, "service", "{.spec.ports[*].port}"), "80 81");
    let nothing = r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}}"#;
    c.fed(other, nothing);
    assert_eq!(path(c, "service", "{.spec.ports[*].port}"), "80");
    assert_eq!(path(c, "service", "{.metadata.annotations.by}"), "");
    let managers = path(c, "service", "{.metadata.managedFields[*].manager}");
    assert_eq!(managers, "kubectl");
}

fn conflicts(c: &Cluster) {
    c.fed(APPLY, WEB);
    let more = WEB.replace("replicas: 2", "replicas: 5");
    let other = ["apply", "--server-side", "--field-manager=other", "-f", "-"];
    let said = c.fed_fails(&other, &more);
    let expected = "Apply failed with 1 conflict: conflict with \"kubectl\": .spec.replicas";
    assert!(said.contains(expected), "{said}");
    assert_eq!(path(c, "deploy", "{.spec.replicas}"), "2");
    c.fed(&[&other[..], &["--force-conflicts"]].concat(), &more);
    assert_eq!(path(c, "deploy", "{.spec.replicas}"), "5");
    let back = c.fed_fails(APPLY, WEB);
    assert!(
        back.contains("conflict with \"other\": .spec.replicas"),
        "{back}"
    );
    c.ok(&["scale", "deploy", "web", "--replicas=7"]);
    let scaled = c.fed_fails(&other, &more);
    assert!(
        scaled.contains("conflict with \"kubectl\" with subresource \"scale\""),
        "{scaled}"
    );
}

fn moves(c: &Cluster) {
    c.fed(&["apply", "-f", "-"], WEB);
    c.fed(APPLY, &WEB.replace("replicas: 2", "replicas: 4"));
    assert_eq!(path(c, "deploy", "{.spec.replicas}"), "4");
    c.fed(APPLY, &WEB.replace("  replicas: 2\n", ""));
    let managers = path(c, "deploy", "{.metadata.managedFields[*].manager}");
    assert!(
        !managers.contains("kubectl-client-side-apply"),
        "{managers}"
    );
}

fn dry_run(c: &Cluster) {
    let said = c.fed(&["apply", "--dry-run=server", "-f", "-"], WEB);
    assert!(
        said.contains("service/web created (server dry run)"),
        "{said}"
    );
    assert!(
        c.fails(&["get", "service", "web"])
            .contains("services \"web\" not found")
    );
    c.fed(&["apply", "-f", "-"], WEB);
    let differs = c.feed(
        &["diff", "-f", "-"],
        &WEB.replace("replicas: 2", "replicas: 9"),
    );
    assert!(differs.out.contains("+  replicas: 9"), "{differs:?}");
    assert_eq!(path(c, "deploy", "{.spec.replicas}"), "2");
    let same = c.feed(&["diff", "-f", "-"], WEB);
    assert!(same.ok, "{same:?}");
}

fn lists(c: &Cluster) {
    let list = r#"{"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "b"},
         "stringData": {"k": "v"}}]}"#;
    let said = c.fed(&["apply", "-f", "-"], list);
    assert_eq!(said, "configmap/a created\nsecret/b created\n");
    assert_eq!(
        c.ok(&["get", "secret", "b", "-o", "jsonpath={.data.k}"]),
        "dg=="
    );
}
