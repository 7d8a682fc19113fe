//! `get`, `describe`, `api-resources`.

use super::{Claim, WEB};
use crate::sandbox::{Cluster, PATIENCE, eventually};
use std::io::{BufRead, BufReader};

pub const CLAIMS: &[Claim] = &[
    ("get prints the tables users know", tables),
    ("get prints yaml, json, names and paths", formats),
    ("get selects by label, field and namespace", selects),
    ("get in chunks shows every object once", chunks),
    ("get -w shows each change as it happens", watches),
    (
        "api-resources, api-versions and version list what is served",
        discovery,
    ),
    (
        "describe and events find what belongs to an object",
        describes,
    ),
];

fn tables(c: &Cluster) {
    c.fed(&["apply", "-f", "-"], WEB);
    let services = c.ok(&["get", "service", "web"]);
    let header: Vec<&str> = services
        .lines()
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    assert_eq!(
        header,
        [
            "NAME",
            "TYPE",
            "CLUSTER-IP",
            "EXTERNAL-IP",
            "PORT(S)",
            "AGE"
        ]
    );
    assert!(
        services.contains("ClusterIP") && services.contains("80/TCP"),
        "{services}"
    );
    let deployments = c.ok(&["get", "deploy", "-o", "wide"]);
    assert!(deployments.contains("CONTAINERS"), "{deployments}");
    assert!(deployments.contains("web,side"), "{deployments}");
    let none = c.run(&["get", "leases", "-n", "default"]);
    assert!(
        none.err
            .contains("No resources found in default namespace."),
        "{none:?}"
    );
    let all = c.ok(&["get", "all"]);
    assert!(
        all.contains("service/web") && all.contains("deployment.apps/web"),
        "{all}"
    );
}

fn formats(c: &Cluster) {
    c.ok(&["create", "configmap", "x", "--from-literal=a=b"]);
    let yaml = c.ok(&["get", "cm", "x", "-o", "yaml"]);
    assert!(
        yaml.contains("\n  name: x\n") && yaml.contains("\n  a: b\n"),
        "{yaml}"
    );
    let json: serde_json::Value =
        serde_json::from_str(&c.ok(&["get", "cm", "x", "-o", "json"])).unwrap();
    assert_eq!(
        (&json["kind"], &json["data"]["a"]),
        (&"ConfigMap".into(), &"b".into())
    );
    assert_eq!(c.ok(&["get", "cm", "x", "-o", "name"]), "configmap/x\n");
    assert_eq!(c.ok(&["get", "cm", "x", "-o", "jsonpath={.data.a}"]), "b");
    let custom = c.ok(&[
        "get",
        "cm",
        "x",
        "-o",
        "custom-columns=N:.metadata.name,A:.data.a",
    ]);
    assert!(
        custom
            .lines()
            .nth(1)
            .unwrap()
            .split_whitespace()
            .eq(["x", "b"]),
        "{custom}"
    );
    let list: serde_json::Value =
        serde_json::from_str(&c.ok(&["get", "--raw", "/api/v1/namespaces/default/configmaps"]))
            .unwrap();
    assert_eq!(list["kind"], "ConfigMapList");
}

fn selects(c: &Cluster) {
    c.ok(&["create", "namespace", "other"]);
    for (ns, name, tier) in [
        ("default", "a", "x"),
        ("default", "b", "y"),
        ("other", "c", "x"),
    ] {
        c.ok(&["-n", ns, "create", "configmap", name]);
        c.ok(&[
            "-n",
            ns,
            "label",
            "configmap",
            name,
            &format!("tier={tier}"),
        ]);
    }
    let names = |args: &[&str]| c.ok(&[&["get", "cm", "-o", "name"], args].concat());
    assert_eq!(names(&["-l", "tier=x"]), "configmap/a\n");
    assert_eq!(names(&["-l", "tier=x", "-A"]), "configmap/a\nconfigmap/c\n");
    assert_eq!(names(&["-l", "tier in (x,y),tier!=x"]), "configmap/b\n");
    assert_eq!(
        names(&["--field-selector", "metadata.name=b"]),
        "configmap/b\n"
    );
    let spread = c.ok(&["get", "cm", "-A", "-l", "tier"]);
    assert!(spread.starts_with("NAMESPACE"), "{spread}");
    let active = c.ok(&[
        "get",
        "ns",
        "--field-selector",
        "status.phase=Active",
        "-o",
        "name",
    ]);
    assert!(active.contains("namespace/other"), "{active}");
    let odd = c.fails(&["get", "cm", "--field-selector", "data.a=b"]);
    assert!(odd.contains("field label not supported: data.a"), "{odd}");
}

fn chunks(c: &Cluster) {
    for n in 0..7 {
        c.ok(&["create", "configmap", &format!("n{n}")]);
    }
    let names = c.ok(&["get", "cm", "-o", "name", "--chunk-size=2"]);
    let found = names
        .lines()
        .filter(|l| l.starts_with("configmap/n"))
        .count();
    assert_eq!(found, 7, "{names}");
}

fn watches(c: &Cluster) {
    c.ok(&["create", "configmap", "first"]);
    let mut watch = c.spawn(&[
        "get",
        "cm",
        "-w",
        "--field-selector",
        "metadata.name!=kube-root-ca.crt",
    ]);
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        while let Some(Ok(line)) = lines.next() {
            let _ = sender.send(line);
        }
    });
    let next = || receiver.recv_timeout(PATIENCE).expect("another line");
    assert!(next().starts_with("NAME"));
    assert!(next().starts_with("first"));
    c.ok(&["create", "configmap", "second", "--from-literal=a=b"]);
    let added = next();
    assert!(
        added.split_whitespace().take(2).eq(["second", "1"]),
        "{added}"
    );
    c.ok(&["patch", "cm", "second", "-p", r#"{"data":{"c":"d"}}"#]);
    let modified = next();
    assert!(
        modified.split_whitespace().take(2).eq(["second", "2"]),
        "{modified}"
    );
    watch.kill().unwrap();
    watch.wait().unwrap();
}

fn discovery(c: &Cluster) {
    let resources = c.ok(&["api-resources"]);
    for row in [
        "deployments",
        "svc",
        "crd,crds",
        "coordination.k8s.io/v1",
        "EndpointSlice",
    ] {
        assert!(resources.contains(row), "{row} in {resources}");
    }
    assert!(
        !resources.contains("daemonsets"),
        "nothing runs them: {resources}"
    );
    let verbs = c.ok(&[
        "api-resources",
        "--verbs=watch,deletecollection",
        "-o",
        "name",
    ]);
    assert!(
        verbs.contains("pods\n") && !verbs.contains("tokenreviews"),
        "{verbs}"
    );
    let versions = c.ok(&["api-versions"]);
    assert!(
        versions.contains("apps/v1\n") && versions.ends_with("v1\n"),
        "{versions}"
    );
    let ready = c.ok(&["get", "--raw", "/readyz"]);
    assert_eq!(ready, "ok");
}

fn describes(c: &Cluster) {
    c.fed(&["apply", "-f", "-"], WEB);
    let event = r#"{"apiVersion": "v1", "kind": "Event", "metadata": {"name": "web.1"},
        "involvedObject": {"kind": "Service", "name": "web", "namespace": "default",
            "uid": "UID"},
        "reason": "Tested", "message": "it was looked at", "type": "Normal", "count": 1,
        "firstTimestamp": "2024-01-01T00:00:00Z", "lastTimestamp": "2024-01-01T00:00:00Z"}"#;
    let uid = c.ok(&["get", "service", "web", "-o", "jsonpath={.metadata.uid}"]);
    c.fed(&["create", "-f", "-"], &event.replace("UID", &uid));
    let events = c.ok(&[
        "get",
        "events",
        "--field-selector",
        "involvedObject.name=web",
    ]);
    assert!(
        events.contains("service/web") && events.contains("Tested"),
        "{events}"
    );
    let new_api = c.ok(&[
        "get",
        "events.events.k8s.io",
        "web.1",
        "-o",
        "jsonpath={.note}",
    ]);
    assert_eq!(new_api, "it was looked at");
    eventually("describe shows the event", || {
        c.ok(&["describe", "service", "web"])
            .contains("it was looked at")
            .then_some(())
    });
}
