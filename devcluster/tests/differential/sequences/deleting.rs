//! Deletion: finalizers, propagation, preconditions, collections.

use super::{Named, config_map, pod, with};
use crate::session::Session;
use serde_json::{Value, json};

pub const ALL: &[Named] = &[
    ("delete_preconditions", delete_preconditions),
    ("finalizers", finalizers),
    ("graceful_pods", graceful_pods),
    ("owners", owners),
    ("delete_collections", delete_collections),
    ("delete_options", delete_options),
    ("namespace_content", namespace_content),
];

fn delete_preconditions(s: &mut Session) {
    let (maps, path) = (s.core("configmaps"), s.core("configmaps/a"));
    let made = s.post(&maps, config_map("a"));
    let options = |what: Value| {
        Some(json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": what}))
    };
    s.delete(&path, options(json!({"uid": "other"})));
    s.delete(&path, options(json!({"resourceVersion": "1"})));
    s.delete(&path, options(json!({"uid": made["metadata"]["uid"]})));
    s.delete(&path, None);
}

fn finalizers(s: &mut Session) {
    let (maps, path) = (s.core("configmaps"), s.core("configmaps/a"));
    s.post(
        &maps,
        with(
            config_map("a"),
            "/metadata/finalizers",
            json!(["example.com/x"]),
        ),
    );
    s.delete(&path, None);
    s.get(&path);
    s.delete(&path, None);
    s.merge(
        &path,
        json!({"metadata": {"finalizers": ["example.com/x", "example.com/y"]}}),
    );
    s.merge(&path, json!({"data": {"still": "writable"}}));
    s.post(&maps, config_map("a"));
    s.merge(&path, json!({"metadata": {"finalizers": null}}));
    s.get(&path);
}

fn graceful_pods(s: &mut Session) {
    let (pods, path) = (s.core("pods"), s.core("pods/a"));
    s.post(&pods, pod("a"));
    s.delete(&path, None);
    s.get(&path);
    s.post(&pods, with(pod("b"), "/spec/nodeName", json!("nowhere")));
    let path = s.core("pods/b");
    s.delete(&path, Some(json!({"gracePeriodSeconds": 7})));
    s.delete(&path, Some(json!({"gracePeriodSeconds": 3})));
    s.delete(&path, Some(json!({"gracePeriodSeconds": 9})));
    s.delete(&path, Some(json!({"gracePeriodSeconds": 0})));
    s.get(&path);
}

fn owners(s: &mut Session) {
    let maps = s.core("configmaps");
    let owner = s.post(&maps, config_map("owner"));
    let reference = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"], "blockOwnerDeletion": true}]);
    s.post(
        &maps,
        with(
            config_map("owned"),
            "/metadata/ownerReferences",
            reference.clone(),
        ),
    );
    let (owner, owned) = (s.core("configmaps/owner"), s.core("configmaps/owned"));
    s.delete(&owner, Some(json!({"propagationPolicy": "Foreground"})));
    s.gone(&owned);
    s.gone(&owner);
    let second = s.post(&maps, config_map("owner"));
    let reference = with(
        reference,
        "/0",
        json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": second["metadata"]["uid"]}),
    );
    s.post(
        &maps,
        with(
            config_map("owned"),
            "/metadata/ownerReferences",
            reference.clone(),
        ),
    );
    s.delete(&owner, Some(json!({"propagationPolicy": "Orphan"})));
    s.gone(&owner);
    s.until(&owned, |o| o["metadata"].get("ownerReferences").is_none());
    let third = s.post(&maps, config_map("owner"));
    s.merge(&owned, json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": third["metadata"]["uid"]}]}}));
    s.delete(&owner, Some(json!({"propagationPolicy": "Background"})));
    s.gone(&owned);
}

fn delete_collections(s: &mut Session) {
    let maps = s.core("configmaps");
    for name in ["a", "b", "c"] {
        s.post(
            &maps,
            with(config_map(name), "/metadata/labels", json!({"n": name})),
        );
    }
    s.delete(&format!("{maps}?labelSelector=n%20in%20(a,b)"), None);
    s.get(&format!("{maps}?labelSelector=n"));
    let services = s.core("services");
    s.delete(&services, None);
    s.delete("/api/v1/configmaps", None);
}

fn delete_options(s: &mut Session) {
    let (maps, path) = (s.core("configmaps"), s.core("configmaps/a"));
    s.post(&maps, config_map("a"));
    s.delete(&path, Some(json!({"propagationPolicy": "Sideways"})));
    s.delete(
        &path,
        Some(json!({"gracePeriodSeconds": -1, "dryRun": ["All"]})),
    );
    s.delete(
        &path,
        Some(json!({"orphanDependents": true, "propagationPolicy": "Orphan"})),
    );
    s.delete(
        &path,
        Some(json!({"kind": "ConfigMap", "apiVersion": "v1"})),
    );
    s.delete(
        &path,
        Some(json!({"kind": "Deployment", "apiVersion": "apps/v1"})),
    );
    s.delete(&format!("{path}?dryRun=Half"), None);
    s.delete(&format!("{path}?gracePeriodSeconds=x"), None);
    s.delete(&format!("{path}?propagationPolicy=Background"), None);
}

fn namespace_content(s: &mut Session) {
    let ns = format!("{}-going", s.ns());
    let path = format!("/api/v1/namespaces/{ns}");
    s.post("/api/v1/namespaces", json!({"metadata": {"name": ns}}));
    let maps = format!("{path}/configmaps");
    s.wait(&format!("{maps}/kube-root-ca.crt"), |_| true);
    s.post(
        &maps,
        with(
            config_map("held"),
            "/metadata/finalizers",
            json!(["example.com/x"]),
        ),
    );
    s.delete(&path, None);
    s.post(&maps, config_map("late"));
    s.wait(&path, |n| n["status"]["phase"] == "Terminating");
    s.wait(&format!("{maps}/held"), |m| {
        !m["metadata"]["deletionTimestamp"].is_null()
    });
    s.until(&path, |n| {
        n["status"]["conditions"].as_array().is_some_and(|c| {
            c.iter()
                .any(|c| c["type"] == "NamespaceFinalizersRemaining" && c["status"] == "True")
        })
    });
    s.delete(&path, None);
    s.merge(
        &format!("{maps}/held"),
        json!({"metadata": {"finalizers": null}}),
    );
    s.gone(&path);
}
