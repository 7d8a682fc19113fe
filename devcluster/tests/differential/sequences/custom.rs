//! CRDs and their objects.

use super::{Named, with};
use crate::session::Session;
use serde_json::{Value, json};

pub const ALL: &[Named] = &[
    ("crd_life", crd_life),
    ("crd_objects", crd_objects),
    ("crd_validation", crd_validation),
    ("crd_versions", crd_versions),
    ("crd_scale_and_columns", crd_scale_and_columns),
    ("crd_refused", crd_refused),
    ("crd_apply", crd_apply),
];

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// A CRD of a group of the sequence's own.
fn crd(s: &Session, schema: Value) -> Value {
    let group = format!("{}.example.com", s.ns());
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("things.{group}")},
        "spec": {"group": group, "scope": "Namespaced",
            "names": {"plural": "things", "kind": "Thing", "shortNames": ["th"]},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
                "subresources": {"status": {}}}]}})
}

fn schema() -> Value {
    json!({"type": "object", "required": ["spec"], "properties": {
        "spec": {"type": "object", "required": ["size"], "properties": {
            "size": {"type": "integer", "minimum": 1, "maximum": 10},
            "color": {"type": "string", "enum": ["red", "blue"], "default": "red"},
            "name": {"type": "string", "pattern": "^[a-z]+$", "minLength": 2, "maxLength": 5},
            "list": {"type": "array", "maxItems": 2, "items": {"type": "string"}},
            "port": {"x-kubernetes-int-or-string": true},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "map": {"type": "object", "additionalProperties": {"type": "integer"}},
            "maybe": {"type": "string", "nullable": true},
            "when": {"type": "string", "format": "date-time"},
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "keyed": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                "items": {"type": "object", "required": ["k"], "properties": {"k": {"type": "string"}, "v": {"type": "integer", "default": 1}}}}}},
        "status": {"type": "object", "properties": {"phase": {"type": "string"}, "n": {"type": "integer"}}}}})
}

/// Creates the CRD and waits until it serves.
fn serve(s: &mut Session, crd: &Value) -> String {
    s.post(CRDS, crd.clone());
    let name = crd["metadata"]["name"].as_str().unwrap();
    let group = crd["spec"]["group"].as_str().unwrap();
    s.wait(&format!("{CRDS}/{name}"), |c| {
        let conditions = c["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        conditions
            .iter()
            .any(|c| c["type"] == "Established" && c["status"] == "True")
    });
    let things = s.group(&format!("{group}/v1"), "things");
    s.wait(&things, |_| true);
    things
}

fn remove(s: &mut Session, crd: &Value) {
    let path = format!("{CRDS}/{}", crd["metadata"]["name"].as_str().unwrap());
    s.delete(&path, None);
    s.gone(&path);
}

fn crd_life(s: &mut Session) {
    let crd = crd(s, schema());
    let path = format!("{CRDS}/{}", crd["metadata"]["name"].as_str().unwrap());
    let things = serve(s, &crd);
    let groups = things.split("/namespaces").next().unwrap().to_owned();
    s.until(&path, |c| {
        c["status"]["conditions"]
            .as_array()
            .is_some_and(|c| c.len() == 2)
    });
    s.until(&groups, |l| {
        l["resources"].as_array().is_some_and(|r| r.len() == 2)
    });
    s.post(&things, json!({"apiVersion": crd["spec"]["group"].as_str().unwrap().to_owned() + "/v1", "kind": "Thing", "metadata": {"name": "a"}, "spec": {"size": 1}}));
    s.merge(&path, json!({"spec": {"names": {"shortNames": ["tg"]}}}));
    s.merge(&path, json!({"spec": {"scope": "Cluster"}}));
    s.merge(&path, json!({"spec": {"group": "other.example.com"}}));
    remove(s, &crd);
    s.get(&things);
}

fn crd_objects(s: &mut Session) {
    let crd = crd(s, schema());
    let things = serve(s, &crd);
    let api = format!("{}/v1", crd["spec"]["group"].as_str().unwrap());
    let thing = json!({"apiVersion": api, "kind": "Thing", "metadata": {"name": "a"},
        "spec": {"size": 1, "free": {"x": 1}, "unknown": 1, "maybe": null, "color": null, "keyed": [{"k": "a"}]}, "status": {"phase": "Mine"}, "extra": 1});
    let path = format!("{things}/a");
    s.post(&things, thing.clone());
    s.post(&things, with(thing.clone(), "/metadata/name", json!("Bad")));
    s.post(
        &format!("{things}?fieldValidation=Strict"),
        with(thing.clone(), "/metadata/name", json!("b")),
    );
    s.get(&path);
    s.merge(&path, json!({"spec": {"size": 2}}));
    s.merge(&path, json!({"status": {"phase": "Ignored"}}));
    s.merge(
        &format!("{path}/status"),
        json!({"status": {"phase": "Set"}, "spec": {"size": 9}}),
    );
    s.merge(&format!("{path}/status"), json!({"status": {"phase": 5}}));
    s.strategic(&path, json!({"spec": {"size": 3}}));
    s.json_patch(
        &path,
        json!([{"op": "replace", "path": "/spec/size", "value": 4}]),
    );
    s.put(&path, thing);
    let read = s.get(&path);
    s.put(&path, with(read, "/spec/size", json!(5)));
    s.post(
        &things,
        json!({"metadata": {"name": "no-kind"}, "spec": {"size": 1}}),
    );
    s.table(&format!("{things}?includeObject=None"));
    s.get(&things);
    s.delete(&path, None);
    remove(s, &crd);
}

fn crd_validation(s: &mut Session) {
    let crd = crd(s, schema());
    let things = serve(s, &crd);
    let api = format!("{}/v1", crd["spec"]["group"].as_str().unwrap());
    for (name, spec) in [
        ("empty", json!({})),
        ("small", json!({"size": 0})),
        ("large", json!({"size": 11})),
        ("text", json!({"size": "1"})),
        ("fraction", json!({"size": 1.5})),
        ("color", json!({"size": 1, "color": "green"})),
        ("pattern", json!({"size": 1, "name": "ABC"})),
        ("short", json!({"size": 1, "name": "a"})),
        ("long", json!({"size": 1, "name": "abcdef"})),
        ("items", json!({"size": 1, "list": ["a", "b", "c"]})),
        ("item", json!({"size": 1, "list": [1]})),
        ("port", json!({"size": 1, "port": "http"})),
        ("badport", json!({"size": 1, "port": true})),
        ("map", json!({"size": 1, "map": {"a": "x"}})),
        ("when", json!({"size": 1, "when": "yesterday"})),
        ("set", json!({"size": 1, "set": ["a", "a"]})),
        (
            "keyed",
            json!({"size": 1, "keyed": [{"k": "a"}, {"k": "a"}]}),
        ),
        ("unkeyed", json!({"size": 1, "keyed": [{"v": 1}]})),
        ("many", json!({"size": 0, "color": "green", "name": "A"})),
        ("string", json!("text")),
    ] {
        s.post(
            &format!("{things}?dryRun=All"),
            json!({"apiVersion": api, "kind": "Thing", "metadata": {"name": name}, "spec": spec}),
        );
    }
    s.post(
        &things,
        json!({"apiVersion": api, "kind": "Thing", "metadata": {"name": "none"}}),
    );
    s.post(&things, json!({"apiVersion": api, "kind": "Other", "metadata": {"name": "kind"}, "spec": {"size": 1}}));
    s.post(&things, json!({"apiVersion": "example.org/v1", "kind": "Thing", "metadata": {"name": "api"}, "spec": {"size": 1}}));
    s.post(&things, json!({"apiVersion": api, "kind": "Thing", "metadata": {"name": "meta", "labels": {"a": 1}}, "spec": {"size": 1}}));
    remove(s, &crd);
}

fn crd_versions(s: &mut Session) {
    let mut crd = crd(s, schema());
    crd["spec"]["versions"] = json!([
        {"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "properties": {"a": {"type": "string"}}}}}}},
        {"name": "v1alpha1", "served": true, "storage": false, "deprecated": true, "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string", "default": "d"}}}}}}},
        {"name": "v0", "served": false, "storage": false, "schema": {"openAPIV3Schema": {"type": "object"}}}]);
    let things = serve(s, &crd);
    let group = crd["spec"]["group"].as_str().unwrap().to_owned();
    s.post(&things, json!({"apiVersion": format!("{group}/v1"), "kind": "Thing", "metadata": {"name": "a"}, "spec": {"a": "x", "b": "y"}}));
    let old = s.group(&format!("{group}/v1alpha1"), "things");
    s.wait(&old, |_| true);
    s.get(&format!("{old}/a"));
    s.post(&old, json!({"apiVersion": format!("{group}/v1alpha1"), "kind": "Thing", "metadata": {"name": "b"}, "spec": {"b": "z"}}));
    s.get(&format!("{things}/b"));
    let hidden = s.group(&format!("{group}/v0"), "things");
    s.get(&hidden);
    s.get(&format!("/apis/{group}"));
    let path = format!("{CRDS}/{}", crd["metadata"]["name"].as_str().unwrap());
    s.get(&path);
    remove(s, &crd);
}

fn crd_scale_and_columns(s: &mut Session) {
    let mut crd = crd(s, schema());
    let version = &mut crd["spec"]["versions"][0];
    version["subresources"] = json!({"status": {}, "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.n"}});
    version["additionalPrinterColumns"] = json!([
        {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
        {"name": "Phase", "type": "string", "jsonPath": ".status.phase", "priority": 1},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}]);
    let things = serve(s, &crd);
    let api = format!("{}/v1", crd["spec"]["group"].as_str().unwrap());
    s.post(
        &things,
        json!({"apiVersion": api, "kind": "Thing", "metadata": {"name": "a"}, "spec": {"size": 3}}),
    );
    let path = format!("{things}/a");
    s.get(&format!("{path}/scale"));
    s.merge(&format!("{path}/scale"), json!({"spec": {"replicas": 5}}));
    s.merge(&format!("{path}/scale"), json!({"spec": {"replicas": 50}}));
    s.get(&path);
    s.table(&format!("{things}?includeObject=None"));
    remove(s, &crd);
}

fn crd_refused(s: &mut Session) {
    let good = crd(s, schema());
    for (pointer, value) in [
        ("/metadata/name", json!("other.example.com")),
        ("/spec/group", json!("Bad")),
        ("/spec/scope", json!("Galaxy")),
        ("/spec/names", json!({"plural": "things"})),
        ("/spec/names", json!({"plural": "Things", "kind": "Thing"})),
        ("/spec/versions", json!([])),
        ("/spec/versions/0/storage", json!(false)),
        ("/spec/versions/0/schema", json!(null)),
        ("/spec/versions/0/name", json!("One")),
        (
            "/spec/versions/0/schema",
            json!({"openAPIV3Schema": {"type": "object", "properties": {"a": {}}}}),
        ),
        (
            "/spec/versions/0/schema",
            json!({"openAPIV3Schema": {"type": "string"}}),
        ),
        (
            "/spec/versions/0/schema",
            json!({"openAPIV3Schema": {"type": "object", "properties": {"a": {"type": "array"}}}}),
        ),
        (
            "/spec/versions/0/schema",
            json!({"openAPIV3Schema": {"type": "object", "properties": {"a": {"type": "string", "default": 1}}}}),
        ),
        (
            "/spec/versions/0/schema",
            json!({"openAPIV3Schema": {"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}}}),
        ),
    ] {
        s.post(
            &format!("{CRDS}?dryRun=All"),
            with(good.clone(), pointer, value),
        );
    }
    let two = json!([
        good["spec"]["versions"][0],
        with(good["spec"]["versions"][0].clone(), "/name", json!("v2"))
    ]);
    s.post(
        &format!("{CRDS}?dryRun=All"),
        with(good, "/spec/versions", two),
    );
}

fn crd_apply(s: &mut Session) {
    let crd = crd(s, schema());
    let things = serve(s, &crd);
    let api = format!("{}/v1", crd["spec"]["group"].as_str().unwrap());
    let path = format!("{things}/a");
    let thing = |spec: Value| json!({"apiVersion": api, "kind": "Thing", "metadata": {"name": "a"}, "spec": spec});
    s.apply(
        &path,
        "one",
        thing(json!({"size": 1, "keyed": [{"k": "a", "v": 1}], "set": ["x"]})),
    );
    s.apply(&path, "two", thing(json!({"size": 2})));
    s.apply(
        &path,
        "two",
        thing(json!({"keyed": [{"k": "b", "v": 2}], "set": ["y"], "list": ["l"]})),
    );
    s.apply(&path, "one", thing(json!({"size": 3, "list": ["m"]})));
    s.apply(&path, "one", thing(json!({"size": 3})));
    s.apply(&path, "one", thing(json!({"size": 30})));
    s.apply(&path, "one", thing(json!({"size": 3, "keyed": [{"v": 1}]})));
    s.apply(&format!("{path}/status"), "three", json!({"apiVersion": api, "kind": "Thing", "metadata": {"name": "a"}, "status": {"phase": "P"}}));
    s.get(&path);
    remove(s, &crd);
}
