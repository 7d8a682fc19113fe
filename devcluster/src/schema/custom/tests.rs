use super::*;
use crate::status::Cause;
use serde_json::json;

fn faults(value: &Value, schema: &Value) -> Vec<String> {
    let mut causes = Vec::new();
    validate(value, schema, "", &mut causes);
    causes.iter().map(Cause::to_string).collect()
}

fn spec_of(schema: Value) -> Value {
    json!({"type": "object", "properties": {"spec": schema}})
}

#[test]
fn faults_read_as_those_of_kube_apiserver() {
    let table = [
        (
            json!({"type": "integer"}),
            json!("x"),
            r#"spec: Invalid value: "string": spec in body must be of type integer: "string""#,
        ),
        (
            json!({"type": "object", "required": ["foo"]}),
            json!({}),
            "spec.foo: Required value",
        ),
        (
            json!({"type": "string", "enum": ["a", "b"]}),
            json!("c"),
            r#"spec: Unsupported value: "c": supported values: "a", "b""#,
        ),
        (
            json!({"type": "string", "pattern": "^a+$"}),
            json!("b"),
            r#"spec: Invalid value: "b": spec in body should match '^a+$'"#,
        ),
        (
            json!({"type": "string", "minLength": 2}),
            json!("b"),
            r#"spec: Invalid value: "b": spec in body should be at least 2 chars long"#,
        ),
        (
            json!({"type": "integer", "minimum": 1}),
            json!(0),
            "spec: Invalid value: 0: spec in body should be greater than or equal to 1",
        ),
        (
            json!({"type": "array", "items": {"type": "object", "properties": {"p": {"type": "integer"}}}}),
            json!([{"p": true}]),
            r#"spec[0].p: Invalid value: "boolean": spec[0].p in body must be of type integer: "boolean""#,
        ),
        (
            json!({"x-kubernetes-int-or-string": true}),
            json!(true),
            r#"spec: Invalid value: "boolean": spec in body must be of type integer,string: "boolean""#,
        ),
        (
            json!({"oneOf": [{"required": ["a"]}, {"required": ["b"]}], "type": "object"}),
            json!({}),
            "spec: Invalid value: {}: spec in body must validate one and only one schema (oneOf). Found none valid",
        ),
        (
            json!({"not": {"required": ["a"]}, "type": "object"}),
            json!({"a": 1}),
            r#"spec: Invalid value: {"a":1}: spec in body must not validate the schema (not)"#,
        ),
        (
            json!({"type": "string", "format": "date-time"}),
            json!("now"),
            r#"spec: Invalid value: "now": spec in body must be of type date-time: "now""#,
        ),
        (
            json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}),
            json!([{"k": 1, "v": 1}, {"k": 1, "v": 2}]),
            r#"spec[1]: Duplicate value: {"k":1}"#,
        ),
    ];
    for (schema, value, fault) in table {
        let object = json!({"spec": value});
        assert_eq!(faults(&object, &spec_of(schema)), [fault]);
    }
}

#[test]
fn what_fits_has_no_faults() {
    let table = [
        (json!({"type": "string", "nullable": true}), json!(null)),
        (json!({"x-kubernetes-int-or-string": true}), json!("4143")),
        (json!({"x-kubernetes-int-or-string": true}), json!(4143)),
        (json!({"type": "number"}), json!(1)),
        (json!({"type": "integer"}), json!(1.0)),
        (
            json!({"anyOf": [{"type": "integer"}, {"type": "string"}]}),
            json!("x"),
        ),
        (
            json!({"type": "object", "additionalProperties": {"type": "string"}}),
            json!({"a": "b"}),
        ),
    ];
    for (schema, value) in table {
        let object = json!({"spec": value});
        assert!(
            faults(&object, &spec_of(schema.clone())).is_empty(),
            "{schema}"
        );
    }
}

#[test]
fn unknown_fields_go_unless_the_schema_keeps_them() {
    let schema = spec_of(json!({"type": "object", "properties": {
        "known": {"type": "string"},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        "map": {"type": "object", "additionalProperties": {"type": "object",
            "properties": {"x": {"type": "string"}}}},
        "list": {"type": "array", "items": {"type": "object", "properties": {}}},
    }}));
    let mut value = json!({"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "n"},
        "stray": 1,
        "spec": {"known": "a", "odd": 1, "free": {"any": {"thing": 1}},
                 "map": {"k": {"x": "1", "y": "2"}}, "list": [{"z": 1}]}});
    let mut unknown = Vec::new();
    prune(&mut value, &schema, "", true, &mut unknown);
    unknown.sort();
    assert_eq!(
        unknown,
        ["spec.list[0].z", "spec.map.k.y", "spec.odd", "stray"]
    );
    assert_eq!(value["spec"]["free"]["any"]["thing"], 1);
    assert_eq!(value["metadata"]["name"], "n");
}

#[test]
fn defaults_reach_into_lists_and_maps() {
    let entry =
        json!({"type": "object", "properties": {"port": {"type": "integer", "default": 80}}});
    let schema = spec_of(json!({"type": "object", "default": {}, "properties": {
        "name": {"type": "string", "default": "x"},
        "null": {"type": "string", "default": "y"},
        "list": {"type": "array", "items": entry},
        "map": {"type": "object", "additionalProperties": entry}}}));
    let mut empty = json!({});
    defaults(&mut empty, &schema);
    assert_eq!(empty["spec"]["name"], "x");
    let mut full = json!({"spec": {"name": "z", "null": null, "list": [{}], "map": {"k": {}}}});
    defaults(&mut full, &schema);
    assert_eq!(full["spec"]["name"], "z");
    assert_eq!(full["spec"]["null"], "y");
    assert_eq!(full["spec"]["list"][0]["port"], 80);
    assert_eq!(full["spec"]["map"]["k"]["port"], 80);
}
