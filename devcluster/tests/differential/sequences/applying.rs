//! Server-side apply.

use super::{Named, deployment, without};
use crate::session::Session;
use serde_json::{Value, json};

pub const ALL: &[Named] = &[
    ("apply_creates_and_owns", apply_creates_and_owns),
    ("apply_conflicts", apply_conflicts),
    ("apply_lists_by_key", apply_lists_by_key),
    ("apply_sets_and_atoms", apply_sets_and_atoms),
    ("apply_and_update", apply_and_update),
    ("apply_to_status_and_scale", apply_to_status_and_scale),
    ("apply_refused", apply_refused),
    ("apply_gives_up_fields", apply_gives_up_fields),
    ("zeros_are_left_out", zeros_are_left_out),
];

fn map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data})
}

/// What the types of built-in kinds cannot tell from nothing, whoever writes it.
fn zeros_are_left_out(s: &mut Session) {
    let (all, path) = (s.apps("deployments"), s.apps("deployments/web"));
    let mut web = deployment("web");
    let spec = &mut web["spec"];
    spec["paused"] = json!(false);
    spec["minReadySeconds"] = json!(0);
    spec["replicas"] = json!(0);
    let pod = &mut spec["template"]["spec"];
    pod["hostNetwork"] = json!(false);
    pod["serviceAccountName"] = json!("");
    pod["containers"][0]["stdin"] = json!(false);
    pod["containers"][0]["env"] = json!([{"name": "A", "value": ""}]);
    pod["containers"][0]["args"] = json!([]);
    pod["nodeSelector"] = json!({});
    web["metadata"]["annotations"] = json!({});
    // Nothing is stored, so no controller has a say.
    s.post(&format!("{all}?dryRun=All"), web.clone());
    s.apply(&path, "one&dryRun=All", web);
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"},
        "spec": {"publishNotReadyAddresses": false, "sessionAffinity": "", "selector": {},
            "externalIPs": [], "ports": [{"port": 80, "nodePort": 0, "name": ""}]}});
    let (all, path) = (s.core("services"), s.core("services/a"));
    s.post(&all, service.clone());
    s.merge(
        &path,
        json!({"spec": {"publishNotReadyAddresses": false, "externalName": ""}}),
    );
    s.strategic(
        &path,
        json!({"metadata": {"labels": {}}, "spec": {"externalIPs": []}}),
    );
    s.apply(&path, "one&force=true", service);
}

fn apply_creates_and_owns(s: &mut Session) {
    let path = s.core("configmaps/a");
    s.apply(&path, "one", map(json!({"a": "1"})));
    s.apply(&path, "one", map(json!({"a": "1"})));
    s.apply(&path, "one", map(json!({"b": "1"})));
    s.apply(&path, "two", map(json!({"c": "1"})));
    s.apply(&path, "two", map(json!({"b": "1"})));
    s.get(&path);
    s.apply(&path, "one&dryRun=All", map(json!({"z": "1"})));
}

fn apply_conflicts(s: &mut Session) {
    let path = s.core("configmaps/a");
    s.apply(&path, "one", map(json!({"a": "1", "b": "1"})));
    s.apply(&path, "two", map(json!({"a": "2"})));
    s.apply(&path, "two", map(json!({"a": "2", "b": "2"})));
    s.apply(&path, "two&force=true", map(json!({"a": "2"})));
    s.apply(&path, "one", map(json!({"a": "1", "b": "1"})));
    s.merge(
        &format!("{path}?fieldManager=three"),
        json!({"data": {"b": "3"}}),
    );
    s.apply(&path, "one", map(json!({"b": "1"})));
    s.apply(&path, "two&force=true", map(json!({"b": "1"})));
}

fn web(containers: Value) -> Value {
    let mut web = deployment("a");
    web["spec"]["replicas"] = json!(0);
    web["spec"]["template"]["spec"]["containers"] = containers;
    web
}

fn apply_lists_by_key(s: &mut Session) {
    s.without_controllers();
    let path = s.apps("deployments/a");
    s.apply(
        &path,
        "one",
        web(
            json!([{"name": "web", "image": "i:1", "env": [{"name": "A", "value": "1"}],
        "ports": [{"containerPort": 80, "protocol": "TCP"}]}]),
        ),
    );
    s.apply(&path, "two", json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"},
        "spec": {"template": {"spec": {"containers": [{"name": "web", "env": [{"name": "B", "value": "2"}]}]}}}}));
    s.apply(
        &path,
        "two",
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"},
        "spec": {"template": {"spec": {"containers": [{"name": "web", "image": "i:2"}]}}}}),
    );
    s.apply(&path, "one", web(json!([{"name": "web", "image": "i:1"}])));
    s.apply(&path, "one", web(json!([{"name": "web", "image": "i:1", "ports": [{"containerPort": 80}, {"containerPort": 80}]}])));
    s.apply(&path, "one", web(json!([{"image": "i:1"}])));
}

fn apply_sets_and_atoms(s: &mut Session) {
    let path = s.core("services/a");
    let service = |ports: Value, selector: Value| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a",
        "finalizers": ["example.com/x"]}, "spec": {"ports": ports, "selector": selector}})
    };
    s.apply(
        &path,
        "one",
        service(json!([{"port": 80, "name": "a"}]), json!({"app": "a"})),
    );
    s.apply(
        &path,
        "one",
        service(
            json!([{"port": 81, "name": "a", "protocol": "TCP"}]),
            json!({"app": "b"}),
        ),
    );
    s.apply(
        &path,
        "two",
        service(
            json!([{"port": 82, "name": "b", "protocol": "TCP"}]),
            json!({"app": "c"}),
        ),
    );
    s.apply(&path, "two", json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "finalizers": ["example.com/y"]}}));
    s.apply(
        &path,
        "two",
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}}),
    );
    s.merge(&path, json!({"metadata": {"finalizers": null}}));
}

fn apply_and_update(s: &mut Session) {
    let (maps, path) = (s.core("configmaps"), s.core("configmaps/a"));
    s.post(
        &format!("{maps}?fieldManager=maker"),
        map(json!({"a": "1", "b": "1"})),
    );
    s.apply(&path, "one", map(json!({"a": "2"})));
    s.apply(&path, "one&force=true", map(json!({"a": "2"})));
    let read = s.get(&path);
    s.put(&format!("{path}?fieldManager=maker"), read.clone());
    s.put(
        &format!("{path}?fieldManager=maker"),
        super::with(read, "/data", json!({"x": "y"})),
    );
    let read = s.get(&path);
    s.put(&path, without(read, "/metadata/managedFields"));
}

fn apply_to_status_and_scale(s: &mut Session) {
    s.without_controllers();
    let path = s.apps("deployments/a");
    s.apply(&path, "one", web(json!([{"name": "web", "image": "i"}])));
    s.wait(&path, |o| !o["status"]["observedGeneration"].is_null());
    s.merge(
        &format!("{path}/scale?fieldManager=scaler"),
        json!({"spec": {"replicas": 0}}),
    );
    let config = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"},
        "status": {"conditions": [{"type": "Mine", "status": "True"}]}});
    s.apply(&format!("{path}/status"), "two", config);
    let path = s.core("pods/p");
    s.apply(&path, "one", super::pod("p"));
    let config = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "status": {"conditions": [{"type": "Mine", "status": "True"}]}});
    s.apply(&format!("{path}/status"), "two", config);
}

fn apply_refused(s: &mut Session) {
    let path = s.core("configmaps/a");
    s.apply(&path, "", map(json!({})));
    s.apply(&path, "one", json!({}));
    s.apply(&path, "one", json!([]));
    s.apply(
        &path,
        "one",
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}}),
    );
    s.apply(
        &path,
        "one",
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b"}}),
    );
    s.apply(&path, "one", json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "managedFields": [{"manager": "x"}]}}));
    s.apply(
        &path,
        "one",
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "datum": {}}),
    );
    s.apply(&path, "one", json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"a": 1}}));
    s.apply(
        &path,
        "one",
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "uid": "none"}}),
    );
    s.apply(&path, "one", json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "resourceVersion": "1"}}));
    let long = "x".repeat(129);
    s.apply(&path, &long, map(json!({})));
    let elsewhere = "/api/v1/namespaces/no-such-place/configmaps/a";
    s.apply(elsewhere, "one", map(json!({})));
}

fn apply_gives_up_fields(s: &mut Session) {
    s.without_controllers();
    let path = s.apps("deployments/a");
    let mut web = web(json!([{"name": "web", "image": "i"}, {"name": "side", "image": "i"}]));
    web["metadata"]["annotations"] = json!({"a": "1"});
    s.apply(&path, "one", web.clone());
    web["spec"]["template"]["spec"]["containers"] = json!([{"name": "web", "image": "i"}]);
    s.apply(&path, "one", without(web.clone(), "/metadata/annotations"));
    s.apply(&path, "one", without(web.clone(), "/spec/replicas"));
    s.apply(
        &path,
        "one",
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}}),
    );
}
