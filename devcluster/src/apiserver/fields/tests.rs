use super::managed::{Writer, apply, record_update};
use super::set::Fields;
use super::shape::Shape;
use serde_json::{Value, json};

const ME: Writer<'_> = Writer {
    manager: "me",
    api_version: "apps/v1",
    subresource: "",
};
const YOU: Writer<'_> = Writer {
    manager: "you",
    api_version: "apps/v1",
    subresource: "",
};

fn shape() -> Shape<'static> {
    Shape::builtin("apps", "Deployment")
}

fn deployment(replicas: Value, containers: Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {"replicas": replicas, "template": {"spec": {"containers": containers}}},
    })
}

fn created(by: &Writer<'_>, obj: Value) -> Value {
    let mut obj = obj;
    record_update(None, &mut obj, by, &shape());
    obj
}

#[test]
fn a_create_owns_what_it_sets_and_no_identity() {
    let obj = created(
        &ME,
        deployment(json!(1), json!([{"name": "a", "image": "x"}])),
    );
    let entry = &obj["metadata"]["managedFields"][0];
    assert_eq!(
        (&entry["manager"], &entry["operation"]),
        (&json!("me"), &json!("Update"))
    );
    assert_eq!(
        entry["fieldsV1"],
        json!({
            "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
            "f:spec": {"f:replicas": {}, "f:template": {"f:spec": {"f:containers": {
                "k:{\"name\":\"a\"}": {".": {}, "f:image": {}, "f:name": {}}}}}},
        })
    );
}

#[test]
fn applying_another_value_of_an_owned_field_is_a_conflict_naming_manager_and_field() {
    let live = created(&YOU, deployment(json!(1), json!([])));
    let config = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web"}, "spec": {"replicas": 2}});
    let error = apply(&live, &config, &ME, &shape(), false).unwrap_err();
    assert_eq!(error.code, 409);
    assert_eq!(
        error.message,
        "Apply failed with 1 conflict: conflict with \"you\" using apps/v1: .spec.replicas"
    );
    let forced = apply(&live, &config, &ME, &shape(), true).unwrap();
    assert_eq!(forced["spec"]["replicas"], 2);
    let yours = forced["metadata"]["managedFields"]
        .as_array()
        .unwrap()
        .iter()
        .find(|e| e["manager"] == "you")
        .unwrap();
    assert!(yours["fieldsV1"]["f:spec"].get("f:replicas").is_none());
}

#[test]
fn several_conflicts_are_listed_by_manager() {
    let containers = json!([{"name": "a", "image": "x"}]);
    let live = created(&YOU, deployment(json!(1), containers));
    let config = deployment(json!(3), json!([{"name": "a", "image": "y"}]));
    let error = apply(&live, &config, &ME, &shape(), false).unwrap_err();
    assert_eq!(
        error.message,
        "Apply failed with 2 conflicts: conflicts with \"you\" using apps/v1:\n\
         - .spec.replicas\n- .spec.template.spec.containers[name=\"a\"].image"
    );
    assert_eq!(
        error.details.unwrap().causes[0].reason,
        "FieldManagerConflict"
    );
}

#[test]
fn the_same_value_is_shared_and_given_up_fields_go_with_their_last_owner() {
    let empty = json!({});
    let both = deployment(json!(1), json!([{"name": "a", "image": "x"}]));
    let first = apply(&empty, &both, &ME, &shape(), false).unwrap();
    let shared = apply(&first, &both, &YOU, &shape(), false).unwrap();
    assert_eq!(
        shared["metadata"]["managedFields"]
            .as_array()
            .unwrap()
            .len(),
        2
    );

    let less = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web"}, "spec": {"replicas": 1}});
    let mine_gone = apply(&shared, &less, &ME, &shape(), false).unwrap();
    assert_eq!(
        mine_gone["spec"]["template"]["spec"]["containers"][0]["image"],
        "x"
    );
    let all_gone = apply(&mine_gone, &less, &YOU, &shape(), false).unwrap();
    assert!(all_gone["spec"].get("template").is_none(), "{all_gone}");
    assert!(all_gone["metadata"].get("labels").is_none());
    assert_eq!(all_gone["spec"]["replicas"], 1);
}

#[test]
fn list_items_merge_by_key_and_default_protocol() {
    let service = |ports: Value| {
        json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "web"}, "spec": {"ports": ports}})
    };
    let shape = Shape::builtin("", "Service");
    let one = apply(
        &json!({}),
        &service(json!([{"port": 80, "name": "a"}])),
        &ME,
        &shape,
        false,
    );
    let mut live = one.unwrap();
    live["spec"]["ports"][0]["protocol"] = json!("TCP");
    let two = service(json!([{"port": 81, "name": "b", "protocol": "TCP"}]));
    let merged = apply(&live, &two, &YOU, &shape, false).unwrap();
    assert_eq!(merged["spec"]["ports"].as_array().unwrap().len(), 2);
    let gone = apply(&merged, &service(json!([])), &YOU, &shape, false).unwrap();
    assert_eq!(
        gone["spec"]["ports"],
        json!([{"port": 80, "name": "a", "protocol": "TCP"}])
    );
}

#[test]
fn an_apply_that_changes_nothing_leaves_the_object_alone() {
    let config = deployment(json!(1), json!([{"name": "a", "image": "x"}]));
    let mut live = apply(&json!({}), &config, &ME, &shape(), false).unwrap();
    live["metadata"]["managedFields"][0]["time"] = json!("2020-01-01T00:00:00Z");
    assert_eq!(apply(&live, &config, &ME, &shape(), false).unwrap(), live);
}

#[test]
fn an_object_nobody_wrote_down_belongs_to_before_first_apply() {
    let live = deployment(json!(1), json!([]));
    let config = json!({"metadata": {"name": "web"}, "spec": {"replicas": 2}});
    let error = apply(&live, &config, &ME, &shape(), false).unwrap_err();
    assert!(
        error
            .message
            .contains("\"before-first-apply\" using apps/v1"),
        "{error}"
    );
}

#[test]
fn custom_resources_merge_as_their_schema_says() {
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "tags": {"type": "array", "x-kubernetes-list-type": "set"},
        "rules": {"type": "array", "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["id"], "items": {"type": "object"}},
        "whole": {"type": "object", "x-kubernetes-map-type": "atomic"}}}}});
    let shape = Shape::Custom(Some(&schema));
    let config = |tags: Value, rules: Value, whole: Value| json!({"metadata": {"name": "x"}, "spec": {"tags": tags, "rules": rules, "whole": whole}});
    let mine = config(json!(["a"]), json!([{"id": 1, "v": "a"}]), json!({"a": 1}));
    let live = apply(&json!({}), &mine, &ME, &shape, false).unwrap();
    let yours = config(json!(["b"]), json!([{"id": 2, "v": "b"}]), json!({"b": 1}));
    let error = apply(&live, &yours, &YOU, &shape, false).unwrap_err();
    assert!(
        error.message.ends_with("conflict with \"me\": .spec.whole"),
        "{error}"
    );
    let merged = apply(&live, &yours, &YOU, &shape, true).unwrap();
    assert_eq!(merged["spec"]["tags"], json!(["a", "b"]));
    assert_eq!(merged["spec"]["rules"].as_array().unwrap().len(), 2);
    assert_eq!(merged["spec"]["whole"], json!({"b": 1}));
}

#[test]
fn an_update_takes_ownership_of_what_it_changes() {
    let live = apply(
        &json!({}),
        &deployment(json!(1), json!([])),
        &ME,
        &shape(),
        false,
    )
    .unwrap();
    let mut new = live.clone();
    new["spec"]["replicas"] = json!(5);
    record_update(Some(&live), &mut new, &YOU, &shape());
    let list = new["metadata"]["managedFields"].as_array().unwrap();
    let fields = |who: &str| {
        let entry = list.iter().find(|e| e["manager"] == who).unwrap();
        Fields::from_value(&entry["fieldsV1"])
    };
    assert_eq!(fields("you").paths(), [".spec.replicas"]);
    assert!(!fields("me").paths().contains(&".spec.replicas".to_owned()));
}
