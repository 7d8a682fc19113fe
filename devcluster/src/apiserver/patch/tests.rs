use super::*;
use serde_json::json;

fn patched(kind: PatchKind, obj: Value, patch: Value) -> Result<Value, ApiError> {
    let body = serde_json::to_vec(&patch).unwrap();
    apply(kind, &obj, &body, &Shape::builtin("apps", "Deployment"))
}

fn deployment() -> Value {
    json!({"metadata": {"name": "web"}, "spec": {
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}},
        "template": {"spec": {"containers": [
            {"name": "a", "image": "x", "args": ["1", "2"], "env": [{"name": "K", "value": "1"}]},
            {"name": "b", "image": "y"}]}}}})
}

#[test]
fn strategic_merge_finds_containers_by_name_and_replaces_plain_lists() {
    let patch = json!({"spec": {"template": {"spec": {
        "$setElementOrder/containers": [{"name": "b"}, {"name": "a"}, {"name": "c"}],
        "containers": [
            {"name": "a", "image": "z", "args": ["3"], "env": [{"name": "L", "value": "2"}]},
            {"name": "c", "image": "w"}]}}}});
    let out = patched(PatchKind::Strategic, deployment(), patch).unwrap();
    let containers = &out["spec"]["template"]["spec"]["containers"];
    let names: Vec<_> = containers
        .as_array()
        .unwrap()
        .iter()
        .map(|c| &c["name"])
        .collect();
    assert_eq!(names, ["b", "a", "c"]);
    assert_eq!(containers[1]["image"], "z");
    assert_eq!(containers[1]["args"], json!(["3"]));
    assert_eq!(containers[1]["env"].as_array().unwrap().len(), 2);
}

#[test]
fn strategic_merge_deletes_what_directives_name() {
    let patch = json!({"spec": {
        "strategy": {"$retainKeys": ["type"], "type": "Recreate"},
        "template": {"spec": {"containers": [{"$patch": "delete", "name": "b"}]}}}});
    let out = patched(PatchKind::Strategic, deployment(), patch).unwrap();
    assert_eq!(out["spec"]["strategy"], json!({"type": "Recreate"}));
    assert_eq!(
        out["spec"]["template"]["spec"]["containers"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn a_list_item_without_its_key_is_a_bad_request() {
    let patch = json!({"spec": {"template": {"spec": {"containers": [{"image": "x"}]}}}});
    let error = patched(PatchKind::Strategic, deployment(), patch).unwrap_err();
    assert_eq!(error.code, 400);
    assert!(
        error
            .message
            .ends_with("does not contain declared merge key: name"),
        "{error}"
    );
}

#[test]
fn a_failed_json_patch_test_is_422() {
    let patch = json!([{"op": "test", "path": "/metadata/name", "value": "x"}]);
    assert_eq!(
        patched(PatchKind::Json, deployment(), patch)
            .unwrap_err()
            .code,
        422
    );
    let unreadable = json!([{"op": "jump", "path": "/a"}]);
    assert_eq!(
        patched(PatchKind::Json, deployment(), unreadable)
            .unwrap_err()
            .code,
        400
    );
}

#[test]
fn a_json_patch_cannot_copy_itself_into_a_bomb() {
    let mut operations = vec![json!({"op": "add", "path": "/a", "value": ["x".repeat(1000)]})];
    for n in 0..60 {
        let from = if n == 0 {
            "/a".to_owned()
        } else {
            format!("/a{}", n - 1)
        };
        operations.push(json!({"op": "add", "path": format!("/a{n}"), "value": []}));
        for _ in 0..2 {
            let path = format!("/a{n}/-");
            operations.push(json!({"op": "copy", "from": from, "path": path}));
        }
    }
    let error = patched(PatchKind::Json, deployment(), json!(operations)).unwrap_err();
    assert_eq!(error.code, 413);
}

#[test]
fn merge_patch_deletes_nulls_and_keeps_the_rest() {
    let patch = json!({"spec": {"strategy": null}, "metadata": {"labels": {"a": "b"}}});
    let out = patched(PatchKind::Merge, deployment(), patch).unwrap();
    assert!(out["spec"].get("strategy").is_none());
    assert_eq!(out["metadata"]["labels"]["a"], "b");
    assert_eq!(out["spec"]["template"], deployment()["spec"]["template"]);
}

#[test]
fn custom_resources_refuse_strategic_merge() {
    let strategic = "application/strategic-merge-patch+json";
    assert_eq!(PatchKind::of(strategic, true).unwrap_err().code, 415);
    assert_eq!(
        PatchKind::of(strategic, false).unwrap(),
        PatchKind::Strategic
    );
    assert_eq!(PatchKind::of("text/plain", false).unwrap_err().code, 415);
}
