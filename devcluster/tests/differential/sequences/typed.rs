//! What users type.

use super::Named;
use crate::session::Session;

pub const ALL: &[Named] = &[
    ("typed_apply_of_changes", typed_apply_of_changes),
    ("typed_create", typed_create),
    ("typed_run_expose_scale", typed_run_expose_scale),
    ("typed_set_and_rollout", typed_set_and_rollout),
    ("typed_label_annotate_patch", typed_label_annotate_patch),
    ("typed_edit_replace_diff", typed_edit_replace_diff),
    ("typed_describe", typed_describe),
    ("typed_get", typed_get),
    ("typed_auth", typed_auth),
    ("typed_explain", typed_explain),
    ("typed_server_side", typed_server_side),
    ("typed_wrong", typed_wrong),
];

const WEB: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: web, labels: {app: web}}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 0
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: "example.com/web:1", env: [{name: A, value: "1"}, {name: B, value: "2"}]}
      - {name: side, image: "example.com/side"}
"#;

fn typed_apply_of_changes(s: &mut Session) {
    s.kubectl_fed(&["apply", "-f", "-"], WEB);
    s.kubectl_fed(&["apply", "-f", "-"], WEB);
    let changed = WEB
        .replace("web:1", "web:2")
        .replace("{name: A, value: \"1\"}, ", "")
        .replace("port: 80,", "port: 8000,");
    let changed = changed.replace("      - {name: side, image: \"example.com/side\"}\n", "");
    s.kubectl_fed(&["diff", "-f", "-"], &changed);
    s.kubectl_fed(&["apply", "-f", "-"], &changed);
    for path in [s.core("services/web"), s.apps("deployments/web")] {
        s.wait(&path, |_| true);
        s.until(&path, |o| {
            o["kind"] == "Service"
                || o["status"]["observedGeneration"] == o["metadata"]["generation"]
        });
    }
    s.kubectl(&["apply", "view-last-applied", "deploy/web", "-o", "json"]);
    s.kubectl_fed(&["apply", "--dry-run=server", "-f", "-"], WEB);
    s.kubectl_fed(&["delete", "-f", "-"], WEB);
}

fn typed_create(s: &mut Session) {
    s.kubectl(&["create", "configmap", "m", "--from-literal=a=b"]);
    s.kubectl(&["create", "configmap", "m", "--from-literal=a=b"]);
    s.kubectl(&["create", "secret", "generic", "s", "--from-literal=a=b"]);
    s.kubectl(&["create", "serviceaccount", "sa"]);
    s.kubectl(&["create", "deployment", "d", "--image=i", "--replicas=0"]);
    s.kubectl(&["create", "service", "clusterip", "c", "--tcp=80:8080"]);
    s.kubectl(&["create", "role", "r", "--verb=get", "--resource=pods"]);
    s.kubectl(&[
        "create",
        "rolebinding",
        "b",
        "--role=r",
        "--serviceaccount=default:default",
    ]);
    s.kubectl(&["create", "token", "sa"]);
    s.kubectl(&["get", "configmap/m", "-o", "yaml"]);
    s.kubectl(&["get", "deploy,svc,role,rolebinding"]);
}

fn typed_run_expose_scale(s: &mut Session) {
    s.kubectl(&[
        "run",
        "p",
        "--image=i",
        "--port=80",
        "--env=A=b",
        "--labels=app=p",
    ]);
    s.kubectl(&["expose", "pod", "p", "--port=80", "--name=p"]);
    s.kubectl(&["get", "svc", "p", "-o", "wide"]);
    s.kubectl(&["create", "deployment", "d", "--image=i", "--replicas=0"]);
    s.kubectl(&["scale", "deploy/d", "--replicas=0"]);
    s.kubectl(&["scale", "deploy/d", "--replicas=1", "--current-replicas=5"]);
    s.kubectl(&["expose", "deploy/d", "--port=80", "--type=NodePort"]);
    s.kubectl(&[
        "get",
        "pod",
        "p",
        "-o",
        "jsonpath={.spec.containers[0].env}",
    ]);
    s.kubectl(&["delete", "pod", "p", "--now"]);
    s.kubectl(&["wait", "--for=delete", "pod/p", "--timeout=10s"]);
}

fn typed_set_and_rollout(s: &mut Session) {
    s.kubectl_fed(&["apply", "-f", "-"], WEB);
    s.kubectl(&["set", "image", "deploy/web", "web=example.com/web:9"]);
    s.kubectl(&["set", "env", "deploy/web", "C=d"]);
    s.kubectl(&[
        "set",
        "resources",
        "deploy/web",
        "-c",
        "web",
        "--limits=cpu=1",
    ]);
    s.kubectl(&["rollout", "status", "deploy/web", "--timeout=20s"]);
    s.kubectl(&["rollout", "history", "deploy/web"]);
    s.kubectl(&["rollout", "pause", "deploy/web"]);
    s.kubectl(&["rollout", "resume", "deploy/web"]);
    s.kubectl(&["rollout", "undo", "deploy/web", "--to-revision=1"]);
    s.kubectl(&[
        "get",
        "deploy",
        "web",
        "-o",
        "jsonpath={.spec.template.spec.containers[0].image}",
    ]);
}

fn typed_label_annotate_patch(s: &mut Session) {
    s.kubectl(&["create", "configmap", "m"]);
    s.kubectl(&["label", "cm/m", "a=b"]);
    s.kubectl(&["label", "cm/m", "a=c"]);
    s.kubectl(&["label", "cm/m", "a=c", "--overwrite"]);
    s.kubectl(&["label", "cm/m", "a-"]);
    s.kubectl(&["annotate", "cm/m", "x=y"]);
    s.kubectl(&["patch", "cm/m", "-p", r#"{"data":{"k":"v"}}"#]);
    s.kubectl(&[
        "patch",
        "cm/m",
        "--type=json",
        "-p",
        r#"[{"op":"remove","path":"/data/k"}]"#,
    ]);
    s.kubectl(&[
        "patch",
        "cm/m",
        "--type=merge",
        "-p",
        r#"{"data":{"k":"v"}}"#,
    ]);
    s.kubectl(&["patch", "cm/m", "-p", r#"{"data":{"k":1}}"#]);
    s.kubectl(&["get", "cm", "m", "-o", "json", "--show-managed-fields"]);
}

fn typed_edit_replace_diff(s: &mut Session) {
    let map = "{apiVersion: v1, kind: ConfigMap, metadata: {name: m}, data: {k: before}}";
    s.kubectl_fed(&["create", "-f", "-"], map);
    s.kubectl(&["edit", "cm/m"]);
    s.kubectl(&["get", "cm", "m", "-o", "jsonpath={.data}"]);
    s.kubectl_fed(&["replace", "-f", "-"], map);
    s.kubectl_fed(&["replace", "--force", "-f", "-"], map);
    s.kubectl_fed(&["apply", "-f", "-"], map);
}

fn typed_describe(s: &mut Session) {
    s.kubectl_fed(&["apply", "-f", "-"], WEB);
    let path = s.apps("deployments/web");
    s.wait(&path, |o| {
        o["status"]["observedGeneration"] == o["metadata"]["generation"]
            && o["status"]["conditions"]
                .as_array()
                .is_some_and(|c| c.len() == 2)
    });
    s.kubectl(&["describe", "svc", "web"]);
    s.kubectl(&["describe", "deploy", "web", "--show-events=false"]);
    s.kubectl(&["run", "p", "--image=i"]);
    s.kubectl(&["describe", "pod", "p"]);
    s.kubectl(&["describe", "sa", "default"]);
    s.kubectl(&["create", "configmap", "m", "--from-literal=a=b"]);
    s.kubectl(&["describe", "cm", "m"]);
    s.kubectl(&["events"]);
}

fn typed_get(s: &mut Session) {
    s.kubectl_fed(&["apply", "-f", "-"], WEB);
    s.kubectl(&["run", "p", "--image=i"]);
    let sets = s.apps("replicasets");
    s.wait(&sets, |l| {
        l["items"][0]["status"]["observedGeneration"] == 1
    });
    s.kubectl(&["get", "all"]);
    s.kubectl(&["get", "pods", "-o", "wide"]);
    s.kubectl(&["get", "deploy", "-o", "wide"]);
    s.kubectl(&["get", "rs", "-o", "wide"]);
    s.kubectl(&["get", "svc", "-o", "wide", "--show-labels"]);
    s.kubectl(&["get", "pods,svc", "-o", "name"]);
    s.kubectl(&["get", "pods", "-l", "run=p", "--no-headers"]);
    s.kubectl(&["get", "pods", "--field-selector=status.phase=Running"]);
    s.kubectl(&[
        "get",
        "pods",
        "-o",
        "custom-columns=N:.metadata.name,P:.status.phase",
    ]);
    s.kubectl(&["get", "pods", "--sort-by=.metadata.name"]);
    s.kubectl(&["get", "deploy/web", "-o", "yaml"]);
    s.kubectl(&["get", "svc/web", "-o", "yaml"]);
    s.kubectl(&["get", "sts"]);
    s.kubectl(&[
        "wait",
        "--for=condition=Available",
        "deploy/web",
        "--timeout=20s",
    ]);
    s.kubectl(&[
        "wait",
        "--for=jsonpath={.status.phase}=Pending",
        "pod/p",
        "--timeout=20s",
    ]);
    s.kubectl(&["wait", "--for=condition=Ready", "pod/p", "--timeout=1s"]);
    s.kubectl(&["logs", "p"]);
    s.kubectl(&["cluster-info", "dump", "--output-directory=/dev/null/x"]);
}

fn typed_auth(s: &mut Session) {
    s.kubectl(&["auth", "can-i", "create", "pods"]);
    s.kubectl(&["auth", "can-i", "create", "pods", "--as=nobody"]);
    s.kubectl(&["auth", "can-i", "get", "/healthz", "--as=nobody"]);
    s.kubectl(&["auth", "whoami"]);
    s.kubectl(&["auth", "whoami", "--as=nobody", "--as-group=g"]);
    s.kubectl(&[
        "auth",
        "can-i",
        "--list",
        "--as=system:serviceaccount:default:default",
    ]);
    s.kubectl(&["get", "pods", "--as=nobody"]);
    s.kubectl(&["create", "cm", "x", "--as=nobody"]);
}

fn typed_explain(s: &mut Session) {
    for what in [
        "pods",
        "pods.spec.containers",
        "pod.spec.nothing",
        "deploy.spec.strategy",
        "svc.spec.ports",
        "crd.spec.names",
        "cm",
        "endpointslices",
        "sts.spec.serviceName",
        "role.rules",
    ] {
        s.kubectl(&["explain", what]);
    }
}

fn typed_server_side(s: &mut Session) {
    s.kubectl_fed(&["apply", "--server-side", "-f", "-"], WEB);
    s.kubectl_fed(&["apply", "--server-side", "-f", "-"], WEB);
    s.kubectl_fed(
        &["apply", "--server-side", "--field-manager=other", "-f", "-"],
        &WEB.replace("web:1", "web:3"),
    );
    s.kubectl_fed(
        &[
            "apply",
            "--server-side",
            "--field-manager=other",
            "--force-conflicts",
            "-f",
            "-",
        ],
        &WEB.replace("web:1", "web:3"),
    );
    s.kubectl_fed(&["apply", "-f", "-"], WEB);
    s.kubectl(&[
        "get",
        "deploy",
        "web",
        "-o",
        "jsonpath={.spec.template.spec.containers[*].image}",
    ]);
    let path = s.apps("deployments/web");
    s.wait(&path, |o| {
        o["status"]["observedGeneration"] == o["metadata"]["generation"]
    });
    s.until(&path, |_| true);
}

fn typed_wrong(s: &mut Session) {
    s.kubectl(&["get", "nothings"]);
    s.kubectl(&["get", "pod", "none"]);
    s.kubectl_fed(
        &["apply", "-f", "-"],
        "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: []}}",
    );
    s.kubectl_fed(
        &["apply", "-f", "-"],
        "{apiVersion: v1, kind: Service, metadata: {name: Bad}, spec: {ports: [{port: 0}]}}",
    );
    s.kubectl_fed(
        &["apply", "-f", "-"],
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, datum: {a: b}}",
    );
    s.kubectl_fed(
        &["apply", "-f", "-"],
        "{apiVersion: v9, kind: Thing, metadata: {name: a}}",
    );
    s.kubectl_fed(
        &["apply", "-f", "-"],
        "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}, spec: {replicas: two}}",
    );
    s.kubectl(&["delete", "cm", "none"]);
    s.kubectl(&["delete", "cm", "none", "--ignore-not-found"]);
    s.kubectl(&["logs", "none"]);
    s.kubectl(&["rollout", "status", "deploy/none"]);
    s.kubectl(&["scale", "deploy/none", "--replicas=1"]);
    s.kubectl(&["set", "image", "deploy/none", "a=b"]);
}
