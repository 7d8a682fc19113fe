//! Create, read, replace: what every object goes through.

use super::{Named, config_map, with};
use crate::session::Session;
use http::Method;
use serde_json::json;

pub const ALL: &[Named] = &[
    ("create_read_replace", create_read_replace),
    ("replace_needs_the_revision", replace_needs_the_revision),
    ("create_conflicts", create_conflicts),
    ("generated_names", generated_names),
    (
        "names_and_namespaces_must_agree",
        names_and_namespaces_must_agree,
    ),
    ("dry_run_stores_nothing", dry_run_stores_nothing),
    ("unknown_fields", unknown_fields),
    ("malformed_bodies", malformed_bodies),
    ("missing_things", missing_things),
    ("metadata_rules", metadata_rules),
    ("namespaces", namespaces),
    ("immutable_config", immutable_config),
];

fn create_read_replace(s: &mut Session) {
    let (maps, path) = (s.core("configmaps"), s.core("configmaps/a"));
    let made = s.post(&maps, config_map("a"));
    s.get(&path);
    s.put(&path, with(made.clone(), "/data/a", json!("2")));
    let read = s.get(&path);
    s.put(&path, read);
    s.put(&path, made);
    s.put(&path, config_map("a"));
    s.get(&path);
}

fn replace_needs_the_revision(s: &mut Session) {
    let (maps, path) = (s.core("configmaps"), s.core("configmaps/a"));
    let made = s.post(&maps, config_map("a"));
    s.put(
        &path,
        with(made.clone(), "/metadata/resourceVersion", json!("1")),
    );
    s.put(
        &path,
        with(made.clone(), "/metadata/resourceVersion", json!("x")),
    );
    s.put(
        &path,
        with(
            made,
            "/metadata/uid",
            json!("00000000-0000-0000-0000-000000000000"),
        ),
    );
    let services = s.core("services");
    let service = s.post(&services, super::service("b"));
    let path = s.core("services/b");
    let service = super::without(service, "/metadata/resourceVersion");
    s.put(&path, service);
}

fn create_conflicts(s: &mut Session) {
    let maps = s.core("configmaps");
    s.post(&maps, config_map("a"));
    s.post(&maps, config_map("a"));
    s.post(
        &maps,
        with(config_map("b"), "/metadata/resourceVersion", json!("5")),
    );
    s.post(&maps, with(config_map("c"), "/metadata/uid", json!("mine")));
    s.post(
        &maps,
        with(
            config_map("d"),
            "/metadata/creationTimestamp",
            json!("2020-01-01T00:00:00Z"),
        ),
    );
    s.post(
        &maps,
        with(config_map("e"), "/metadata/generation", json!(7)),
    );
    let path = s.core("configmaps/none");
    s.put(&path, config_map("none"));
}

fn generated_names(s: &mut Session) {
    let maps = s.core("configmaps");
    let generated = json!({"metadata": {"generateName": "gen-"}});
    s.post(&maps, generated.clone());
    s.post(&maps, with(generated, "/metadata/name", json!("chosen")));
    s.post(&maps, json!({"metadata": {"generateName": "Bad_"}}));
    s.post(
        &maps,
        json!({"metadata": {"generateName": "x".repeat(70) + "-"}}),
    );
    s.post(&maps, json!({"metadata": {}}));
}

fn names_and_namespaces_must_agree(s: &mut Session) {
    let maps = s.core("configmaps");
    s.post(
        &maps,
        with(config_map("a"), "/metadata/namespace", json!("elsewhere")),
    );
    s.post(&maps, config_map("a"));
    let path = s.core("configmaps/a");
    s.put(&path, config_map("b"));
    s.put(
        &path,
        with(config_map("a"), "/metadata/namespace", json!("elsewhere")),
    );
    s.post(
        "/api/v1/namespaces/no-such-place/configmaps",
        config_map("a"),
    );
    s.post("/api/v1/configmaps", config_map("a"));
    s.get("/api/v1/configmaps/a");
    s.merge(&path, json!({"metadata": {"name": "b"}}));
    s.merge(&path, json!({"metadata": {"namespace": "elsewhere"}}));
}

fn dry_run_stores_nothing(s: &mut Session) {
    let (maps, path) = (s.core("configmaps"), s.core("configmaps/a"));
    s.post(&format!("{maps}?dryRun=All"), config_map("a"));
    s.get(&path);
    s.post(&format!("{maps}?dryRun=Some"), config_map("a"));
    s.post(&maps, config_map("a"));
    s.post(&format!("{maps}?dryRun=All"), config_map("a"));
    s.merge(&format!("{path}?dryRun=All"), json!({"data": {"a": "2"}}));
    s.put(
        &format!("{path}?dryRun=All"),
        with(config_map("a"), "/data/a", json!("3")),
    );
    s.delete(&format!("{path}?dryRun=All"), None);
    s.delete(&path, Some(json!({"dryRun": ["All"]})));
    s.get(&path);
    let services = s.core("services");
    s.post(&format!("{services}?dryRun=All"), super::service("web"));
}

fn unknown_fields(s: &mut Session) {
    let maps = s.core("configmaps");
    let odd = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "nom": "b"},
        "datum": {"a": "1"}});
    for mode in ["Ignore", "Warn", "Strict", "Other"] {
        let name = mode.to_lowercase();
        let odd = with(odd.clone(), "/metadata/name", json!(name));
        s.post(&format!("{maps}?fieldValidation={mode}"), odd);
    }
    s.post(&maps, odd);
    let text = r#"{"metadata": {"name": "twice"}, "data": {"a": "1", "a": "2"}}"#;
    s.raw(
        &Method::POST,
        &format!("{maps}?fieldValidation=Strict"),
        "application/json",
        text,
    );
    s.raw(&Method::POST, &maps, "application/json", text);
    let deployments = s.apps("deployments");
    let mut deployment = super::deployment("a");
    deployment["spec"]["template"]["spec"]["containers"][0]["imagee"] = json!("x");
    s.post(
        &format!("{deployments}?fieldValidation=Strict"),
        deployment.clone(),
    );
    s.post(&format!("{deployments}?dryRun=All"), deployment);
}

fn malformed_bodies(s: &mut Session) {
    let maps = s.core("configmaps");
    for body in [
        "",
        "{",
        "[]",
        "null",
        "1",
        "{}",
        r#"{"metadata": 1}"#,
        r#"{"data": {"a": 1}}"#,
        r#"{"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "a"}}"#,
        r#"{"kind": "Nothing", "apiVersion": "v1", "metadata": {"name": "a"}}"#,
        r#"{"kind": "ConfigMap", "apiVersion": "v2", "metadata": {"name": "a"}}"#,
        r#"{"kind": "ConfigMap", "apiVersion": "apps/v1", "metadata": {"name": "a"}}"#,
    ] {
        s.raw(&Method::POST, &maps, "application/json", body);
    }
    s.raw(&Method::POST, &maps, "text/plain", "{}");
    let yaml = "metadata:\n  name: from-yaml\ndata:\n  a: b\n";
    s.raw(&Method::POST, &maps, "application/yaml", yaml);
    let path = s.core("configmaps/from-yaml");
    s.raw(&Method::PATCH, &path, "application/json", "{}");
    s.raw(&Method::PATCH, &path, "application/merge-patch+json", "{");
    s.raw(&Method::PATCH, &path, "application/json-patch+json", "{}");
    s.raw(
        &Method::PATCH,
        &path,
        "application/json-patch+json",
        r#"[{"op": "jump", "path": "/a"}]"#,
    );
}

fn missing_things(s: &mut Session) {
    for path in [
        "configmaps/a",
        "pods/a",
        "services/a",
        "nothings",
        "nothings/a",
        "configmaps/a/status",
        "pods/a/status",
        "pods/a/log",
        "serviceaccounts/a/token",
    ] {
        let path = s.core(path);
        s.get(&path);
    }
    let path = s.core("configmaps/a");
    s.delete(&path, None);
    s.merge(&path, json!({}));
    let path = s.core("configmaps");
    s.put(&path, config_map("a"));
    for path in [
        "/apis/none/v1/things",
        "/apis/apps/v7/deployments",
        "/api/v2/pods",
        "/nowhere",
        "/apis/apps/v1/namespaces/x/pods",
        "/api/v1/namespaces/none-such",
        "/apis/none",
        "/apis/none/v1",
    ] {
        s.get(path);
    }
    let path = s.apps("deployments/none/scale");
    s.get(&path);
}

fn metadata_rules(s: &mut Session) {
    let maps = s.core("configmaps");
    for (name, metadata) in [
        ("upper", json!({"name": "Upper"})),
        ("long", json!({"name": "a".repeat(254)})),
        ("label-key", json!({"name": "a", "labels": {"-bad": "x"}})),
        (
            "label-value",
            json!({"name": "a", "labels": {"good": "x y"}}),
        ),
        (
            "long-label",
            json!({"name": "a", "labels": {"good": "x".repeat(64)}}),
        ),
        (
            "annotation",
            json!({"name": "a", "annotations": {"bad key": "x"}}),
        ),
        (
            "finalizer",
            json!({"name": "a", "finalizers": ["unqualified"]}),
        ),
        (
            "owner",
            json!({"name": "a", "ownerReferences": [{"apiVersion": "v1", "kind": "Pod"}]}),
        ),
        (
            "owners",
            json!({"name": "a", "ownerReferences": [
            {"apiVersion": "v1", "kind": "Pod", "name": "a", "uid": "1", "controller": true},
            {"apiVersion": "v1", "kind": "Pod", "name": "b", "uid": "2", "controller": true}]}),
        ),
        ("types", json!({"name": "a", "labels": {"a": 1}})),
    ] {
        let _ = name;
        s.post(&maps, json!({"metadata": metadata}));
    }
}

fn namespaces(s: &mut Session) {
    let ns = format!("{}-inner", s.ns());
    let path = format!("/api/v1/namespaces/{ns}");
    s.post("/api/v1/namespaces", json!({"metadata": {"name": ns}}));
    s.until(&path, |n| n["status"]["phase"] == "Active");
    s.post("/api/v1/namespaces", json!({"metadata": {"name": "Bad"}}));
    s.post("/api/v1/namespaces", json!({"metadata": {"name": "a.b"}}));
    let accounts = format!("{path}/serviceaccounts");
    s.until(&accounts, |l| {
        l["items"].as_array().is_some_and(|i| i.len() == 1)
    });
    s.merge(&path, json!({"metadata": {"labels": {"a": "b"}}}));
    s.delete("/api/v1/namespaces/default", None);
    s.delete("/api/v1/namespaces", None);
    s.delete(&path, None);
    s.gone(&path);
}

fn immutable_config(s: &mut Session) {
    let maps = s.core("configmaps");
    s.post(&maps, with(config_map("a"), "/immutable", json!(true)));
    let path = s.core("configmaps/a");
    s.merge(&path, json!({"data": {"a": "2"}}));
    s.merge(&path, json!({"immutable": false}));
    s.merge(&path, json!({"metadata": {"labels": {"a": "b"}}}));
    let secrets = s.core("secrets");
    s.post(
        &secrets,
        json!({"metadata": {"name": "s"}, "immutable": true, "stringData": {"a": "b"}}),
    );
    let path = s.core("secrets/s");
    s.merge(&path, json!({"data": {"a": "Yg=="}}));
    s.merge(&path, json!({"type": "other"}));
}
