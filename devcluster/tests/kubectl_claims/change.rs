//! `create`, `patch`, `label`, `annotate`, `scale`, `replace`, `delete`, `wait`.

use super::{Claim, WEB};
use crate::sandbox::{Cluster, eventually};

pub const CLAIMS: &[Claim] = &[
    ("create makes every kind kubectl has a word for", creates),
    (
        "patch merges, edits by JSON patch, and merges lists by key",
        patches,
    ),
    (
        "label and annotate set, refuse to overwrite, and remove",
        labels,
    ),
    ("scale and replace change what they name", scales),
    ("delete removes by name, selector and file", deletes),
    ("delete waits for finalizers", finalizers),
    ("deleting a namespace deletes what is in it", namespaces),
    ("wait ends with a condition, a field, or a deletion", waits),
    ("auth can-i and whoami tell who may do what", rights),
];

fn creates(c: &Cluster) {
    for args in [
        &["namespace", "n"] as &[&str],
        &["configmap", "x", "--from-literal=a=b"],
        &["secret", "generic", "x", "--from-literal=a=b"],
        &["serviceaccount", "x"],
        &["service", "clusterip", "x", "--tcp=80:8080"],
        &["service", "loadbalancer", "y", "--tcp=80:8080"],
        &[
            "deployment",
            "x",
            "--image=mesh.io/pause",
            "--replicas=0",
            "--port=80",
        ],
        &["role", "x", "--verb=get", "--resource=pods"],
        &["rolebinding", "x", "--role=x", "--serviceaccount=default:x"],
        &["clusterrole", "x", "--verb=get,list", "--resource=nodes"],
        &[
            "clusterrolebinding",
            "x",
            "--clusterrole=x",
            "--user=somebody",
        ],
    ] {
        let said = c.ok(&[&["create"], args].concat());
        assert!(said.contains("created"), "{args:?}: {said}");
    }
    assert_eq!(
        c.ok(&["get", "deploy", "x", "-o", "jsonpath={.spec.replicas}"]),
        "0"
    );
    assert_eq!(
        c.ok(&["create", "token", "x"]).matches('.').count(),
        2,
        "a JWT"
    );
    let again = c.fails(&["create", "namespace", "n"]);
    assert!(
        again.contains("(AlreadyExists): namespaces \"n\" already exists"),
        "{again}"
    );
    let nowhere = c.fails(&["-n", "nowhere", "create", "serviceaccount", "x"]);
    assert!(
        nowhere.contains("namespaces \"nowhere\" not found"),
        "{nowhere}"
    );
    let generated =
        r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "g-"}}"#;
    let made = c.fed(&["create", "-f", "-", "-o", "name"], generated);
    assert_eq!(made.trim().len(), "configmap/g-".len() + 5, "{made}");
}

fn patches(c: &Cluster) {
    c.fed(&["apply", "-f", "-"], WEB);
    let get = |path: &str| c.ok(&["get", "deploy", "web", "-o", &format!("jsonpath={path}")]);
    c.ok(&[
        "patch",
        "deploy",
        "web",
        "--type=merge",
        "-p",
        r#"{"spec":{"replicas":4}}"#,
    ]);
    assert_eq!(get("{.spec.replicas}"), "4");
    let json = r#"[{"op":"test","path":"/spec/replicas","value":4},
        {"op":"replace","path":"/spec/replicas","value":5},
        {"op":"add","path":"/metadata/labels/a~1b","value":"c"}]"#;
    c.ok(&["patch", "deploy", "web", "--type=json", "-p", json]);
    assert_eq!(get("{.spec.replicas}"), "5");
    let image = r#"{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"z"}]}}}}"#;
    c.ok(&["patch", "deploy", "web", "-p", image]);
    assert_eq!(
        get("{.spec.template.spec.containers[*].image}"),
        "mesh.io/demo-web:dev z"
    );
    let wrong = c.fails(&["patch", "deploy", "web", "--type=json", "-p", json]);
    assert!(wrong.contains("the server rejected our request"), "{wrong}");
    let nothing = c.fails(&["patch", "deploy", "nope", "-p", "{}"]);
    assert!(
        nothing.contains("deployments.apps \"nope\" not found"),
        "{nothing}"
    );
    let status = r#"{"status":{"observedGeneration":1}}"#;
    c.ok(&[
        "patch",
        "deploy",
        "web",
        "--subresource=status",
        "--type=merge",
        "-p",
        status,
    ]);
}

fn labels(c: &Cluster) {
    c.ok(&["create", "configmap", "x"]);
    assert!(
        c.ok(&["label", "cm", "x", "a=b", "c=d"])
            .contains("configmap/x labeled")
    );
    let refused = c.fails(&["label", "cm", "x", "a=z"]);
    assert!(
        refused.contains("already has a value (b), and --overwrite is false"),
        "{refused}"
    );
    c.ok(&["label", "cm", "x", "a=z", "--overwrite"]);
    c.ok(&["label", "cm", "x", "c-"]);
    let left = c.ok(&["get", "cm", "x", "-o", "jsonpath={.metadata.labels}"]);
    assert_eq!(left, r#"{"a":"z"}"#);
    assert!(
        c.ok(&["annotate", "cm", "x", "n=1"])
            .contains("configmap/x annotated")
    );
    c.ok(&["annotate", "cm", "--all", "n=2", "--overwrite"]);
    assert_eq!(
        c.ok(&["get", "cm", "x", "-o", "jsonpath={.metadata.annotations.n}"]),
        "2"
    );
    let bad = c.fails(&["label", "cm", "x", "a=not a label"]);
    assert!(bad.contains("a valid label must be"), "{bad}");
}

fn scales(c: &Cluster) {
    c.fed(&["apply", "-f", "-"], WEB);
    assert!(
        c.ok(&["scale", "deploy", "web", "--replicas=6"])
            .contains("scaled")
    );
    assert_eq!(
        c.ok(&["get", "deploy", "web", "-o", "jsonpath={.spec.replicas}"]),
        "6"
    );
    c.ok(&["create", "configmap", "x", "--from-literal=a=b"]);
    let mut live: serde_json::Value =
        serde_json::from_str(&c.ok(&["get", "cm", "x", "-o", "json"])).unwrap();
    live["data"] = serde_json::json!({"c": "d"});
    c.fed(&["replace", "-f", "-"], &live.to_string());
    assert_eq!(
        c.ok(&["get", "cm", "x", "-o", "jsonpath={.data}"]),
        r#"{"c":"d"}"#
    );
    let stale = c.fed_fails(&["replace", "-f", "-"], &live.to_string());
    assert!(
        stale.contains(
            "Operation cannot be fulfilled on configmaps \"x\": the object has been modified; \
             please apply your changes to the latest version and try again"
        ),
        "{stale}"
    );
    c.ok(&["set", "image", "deploy/web", "side=other"]);
}

fn deletes(c: &Cluster) {
    for name in ["a", "b", "d", "e"] {
        c.ok(&["create", "configmap", name]);
    }
    c.ok(&["label", "cm", "b", "d", "gone=yes"]);
    assert!(
        c.ok(&["delete", "cm", "a"])
            .contains("configmap \"a\" deleted")
    );
    let twice = c.fails(&["delete", "cm", "a"]);
    assert!(
        twice.contains("(NotFound): configmaps \"a\" not found"),
        "{twice}"
    );
    c.ok(&["delete", "cm", "a", "--ignore-not-found"]);
    c.ok(&["delete", "cm", "-l", "gone=yes"]);
    let left = c.ok(&[
        "get",
        "cm",
        "-o",
        "name",
        "--field-selector",
        "metadata.name!=kube-root-ca.crt",
    ]);
    assert_eq!(left, "configmap/e\n");
    c.fed(&["apply", "-f", "-"], WEB);
    c.fed(&["delete", "-f", "-", "--cascade=orphan"], WEB);
    assert!(c.fails(&["get", "service", "web"]).contains("not found"));
    let kept = c.fails(&["delete", "namespace", "default"]);
    assert!(kept.contains("this namespace may not be deleted"), "{kept}");
}

fn finalizers(c: &Cluster) {
    let held = r#"{"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "held", "finalizers": ["test.mesh.io/hold"]}}"#;
    c.fed(&["create", "-f", "-"], held);
    let mut waits = c.spawn(&["delete", "cm", "held"]);
    eventually("the deletion is marked", || {
        let path = "jsonpath={.metadata.deletionTimestamp}";
        (!c.ok(&["get", "cm", "held", "-o", path]).is_empty()).then_some(())
    });
    assert!(waits.try_wait().unwrap().is_none(), "kubectl waits");
    c.ok(&[
        "patch",
        "cm",
        "held",
        "-p",
        r#"{"metadata":{"finalizers":null}}"#,
    ]);
    assert!(waits.wait().unwrap().success());
    assert!(c.fails(&["get", "cm", "held"]).contains("not found"));
}

fn waits(c: &Cluster) {
    c.fed(
        &["apply", "-f", "-"],
        &WEB.replace("replicas: 2", "replicas: 0"),
    );
    let condition = r#"{"status":{"conditions":[{"type":"Tested","status":"True",
        "lastTransitionTime":"2024-01-01T00:00:00Z","lastUpdateTime":"2024-01-01T00:00:00Z"}]}}"#;
    let patch = [
        "patch",
        "service",
        "web",
        "--subresource=status",
        "--type=merge",
        "-p",
    ];
    let waiting = c.spawn(&[
        "wait",
        "--for=condition=Tested",
        "service/web",
        "--timeout=20s",
    ]);
    c.ok(&[
        &patch[..],
        &[&condition.replace(
            "\"lastUpdateTime\":\"2024-01-01T00:00:00Z\"",
            "\"reason\":\"T\",\"message\":\"m\"",
        )],
    ]
    .concat());
    let said = waiting.wait_with_output().unwrap();
    assert!(said.status.success(), "{said:?}");
    let field = "--for=jsonpath={.spec.replicas}=3";
    let waiting = c.spawn(&["wait", field, "deploy/web", "--timeout=20s"]);
    c.ok(&["scale", "deploy", "web", "--replicas=3"]);
    assert!(waiting.wait_with_output().unwrap().status.success());
    let waiting = c.spawn(&["wait", "--for=delete", "service/web", "--timeout=20s"]);
    c.ok(&["delete", "service", "web"]);
    assert!(waiting.wait_with_output().unwrap().status.success());
    let late = c.fails(&[
        "wait",
        "--for=condition=Never",
        "deploy/web",
        "--timeout=1s",
    ]);
    assert!(
        late.contains("timed out waiting for the condition"),
        "{late}"
    );
}

fn rights(c: &Cluster) {
    assert!(c.ok(&["auth", "whoami"]).contains("system:masters"));
    assert_eq!(c.ok(&["auth", "can-i", "delete", "pods"]), "yes\n");
    c.ok(&["create", "serviceaccount", "bob"]);
    let bob = "--as=system:serviceaccount:default:bob";
    assert_eq!(c.run(&["auth", "can-i", "get", "pods", bob]).out, "no\n");
    let refused = c.fails(&["get", "pods", bob]);
    assert!(
        refused.contains("(Forbidden): pods is forbidden: User"),
        "{refused}"
    );
    c.ok(&[
        "create",
        "role",
        "look",
        "--verb=get,list",
        "--resource=pods",
    ]);
    c.ok(&[
        "create",
        "rolebinding",
        "look",
        "--role=look",
        "--serviceaccount=default:bob",
    ]);
    assert_eq!(c.ok(&["auth", "can-i", "get", "pods", bob]), "yes\n");
    c.ok(&["get", "pods", bob]);
}

fn namespaces(c: &Cluster) {
    c.ok(&["create", "namespace", "n"]);
    let held = r#"{"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "held", "finalizers": ["test.mesh.io/hold"]}}"#;
    c.fed(&["-n", "n", "create", "-f", "-"], held);
    c.ok(&["-n", "n", "create", "configmap", "free"]);
    let mut deletes = c.spawn(&["delete", "namespace", "n"]);
    eventually("the namespace is emptied as far as it goes", || {
        c.run(&["-n", "n", "get", "cm", "free"])
            .err
            .contains("not found")
            .then_some(())
    });
    let phase = c.ok(&["get", "ns", "n"]);
    assert!(phase.contains("Terminating"), "{phase}");
    let late = c.fails(&["-n", "n", "create", "configmap", "late"]);
    assert!(late.contains("because it is being terminated"), "{late}");
    let release = r#"{"metadata":{"finalizers":null}}"#;
    c.ok(&["-n", "n", "patch", "cm", "held", "-p", release]);
    assert!(deletes.wait().unwrap().success());
    assert!(c.fails(&["get", "ns", "n"]).contains("not found"));
}
