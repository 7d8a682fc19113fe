//! What kubectl sends as protobuf: everything it makes from flags, evictions, and token requests.

use super::Claim;
use crate::sandbox::{Cluster, eventually};
use serde_json::{Value, json};

pub const CLAIMS: &[Claim] = &[
    (
        "what is made from flags is what is made from its JSON",
        same_as_json,
    ),
    (
        "tokens are made for an audience, a time and a Secret",
        tokens,
    ),
    ("drain evicts pods, and honours its grace period", drains),
];

/// `create` and these make objects with a typed client.
const MADE: &[&[&str]] = &[
    &["namespace", "x"],
    &["configmap", "x", "--from-literal=a=b", "--from-literal=e="],
    &["secret", "generic", "x", "--from-literal=a=b", "--type=a/b"],
    &[
        "secret",
        "docker-registry",
        "x",
        "--docker-server=r",
        "--docker-username=u",
        "--docker-password=p",
    ],
    &["serviceaccount", "x"],
    &[
        "service",
        "clusterip",
        "x",
        "--tcp=80:8080",
        "--tcp=443:tls",
    ],
    &["service", "clusterip", "x", "--clusterip=None"],
    &["service", "nodeport", "x", "--tcp=80", "--node-port=30080"],
    &["service", "loadbalancer", "x", "--tcp=80:8080"],
    &["service", "externalname", "x", "--external-name=a.example"],
    &["deployment", "x", "--image=a", "--replicas=0", "--port=80"],
    &["deployment", "x", "--image=a", "--", "sleep", "1"],
    &[
        "role",
        "x",
        "--verb=get,list",
        "--resource=pods,deployments.apps",
    ],
    &[
        "role",
        "x",
        "--verb=get",
        "--resource=pods",
        "--resource-name=a",
    ],
    &[
        "rolebinding",
        "x",
        "--clusterrole=x",
        "--serviceaccount=a:b",
    ],
    &["rolebinding", "x", "--role=x", "--user=u", "--group=g"],
    &[
        "clusterrole",
        "x",
        "--verb=get",
        "--non-resource-url=/healthz",
    ],
    &["clusterrole", "x", "--aggregation-rule=a=b"],
    &["clusterrolebinding", "x", "--clusterrole=x", "--group=g"],
];

fn same_as_json(c: &Cluster) {
    for args in MADE {
        let args = [&["create"], *args].concat();
        // The flags must come before a `--`.
        let with = |extra: &[&'static str]| {
            let at = args.iter().position(|a| *a == "--").unwrap_or(args.len());
            [&args[..at], extra, &args[at..]].concat()
        };
        let typed = c.ok(&with(&["--dry-run=server", "-o", "json"]));
        let json = c.ok(&with(&["--dry-run=client", "-o", "json"]));
        let sent = c.fed(
            &["create", "-f", "-", "--dry-run=server", "-o", "json"],
            &json,
        );
        assert_eq!(bare(&typed), bare(&sent), "{args:?}");
        let made = c.ok(&args);
        assert!(made.contains("created"), "{args:?}: {made}");
        c.ok(&["delete", args[1], "x", "--now", "--wait=false"]);
    }
}

/// An object without what differs each time it is made.
fn bare(text: &str) -> Value {
    let mut out: Value = serde_json::from_str(text).expect("JSON");
    for (parent, field) in [
        ("/metadata", "creationTimestamp"),
        // Clients before 1.34 print a time that is not there as null.
        ("/spec/template/metadata", "creationTimestamp"),
        ("/metadata", "managedFields"),
        ("/metadata", "resourceVersion"),
        ("/metadata", "uid"),
        ("/spec", "clusterIP"),
        ("/spec", "clusterIPs"),
    ] {
        let within = out.pointer_mut(parent).and_then(Value::as_object_mut);
        within.and_then(|o| o.remove(field));
    }
    let ports = out.pointer_mut("/spec/ports").and_then(Value::as_array_mut);
    for port in ports.into_iter().flatten() {
        port["nodePort"] = Value::Null;
    }
    // Of what it made itself kubectl prints `rules: null`, and no empty status, which it sends.
    if let Some(fields) = out.as_object_mut() {
        fields.retain(|_, value| !value.is_null() && *value != json!({}));
    }
    out
}

fn tokens(c: &Cluster) {
    c.ok(&["create", "serviceaccount", "x"]);
    c.ok(&["create", "secret", "generic", "s"]);
    let asked = [
        "create",
        "token",
        "x",
        "--audience=a",
        "--duration=20m",
        "-o",
        "json",
    ];
    let request: Value = serde_json::from_str(&c.ok(&asked)).expect("JSON");
    assert_eq!(request["spec"]["audiences"], json!(["a"]));
    assert_eq!(request["spec"]["expirationSeconds"], 1200);
    let token = request["status"]["token"].as_str().unwrap_or_default();
    assert_eq!(token.split('.').count(), 3, "{token}");
    let bound = [
        &asked[..],
        &["--bound-object-kind=Secret", "--bound-object-name=s"],
    ]
    .concat();
    let request: Value = serde_json::from_str(&c.ok(&bound)).expect("JSON");
    assert_eq!(request["spec"]["boundObjectRef"]["name"], "s");
    let missing = [
        &asked[..],
        &["--bound-object-kind=Secret", "--bound-object-name=no"],
    ]
    .concat();
    let why = c.fails(&missing);
    assert!(why.contains("\"no\" not found"), "{why}");
}

const NODE: &str = r#"{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}}"#;
const POD: &str = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
    "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "mesh.io/pause"}]}}"#;

fn drains(c: &Cluster) {
    eventually("the ServiceAccount pods run as", || {
        let there = c.run(&["get", "serviceaccount", "default"]);
        there.ok.then_some(())
    });
    c.fed(&["create", "-f", "-"], NODE);
    c.fed(&["create", "-f", "-"], POD);
    let tried = c.ok(&["drain", "n", "--force", "--dry-run=server"]);
    assert!(tried.contains("drained (server dry run)"), "{tried}");
    assert!(c.ok(&["get", "pods", "-o", "name"]).contains("pod/p"));
    let said = c.ok(&["drain", "n", "--force", "--grace-period=0", "--timeout=20s"]);
    assert!(said.contains("pod/p evicted"), "{said}");
    assert_eq!(c.ok(&["get", "pods", "-o", "name"]), "");
    let unschedulable = ["get", "node", "n", "-o", "jsonpath={.spec.unschedulable}"];
    assert_eq!(c.ok(&unschedulable), "true");
    c.ok(&["uncordon", "n"]);
    assert_eq!(c.ok(&unschedulable), "");
}
