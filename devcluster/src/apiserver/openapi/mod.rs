//! As much OpenAPI as kubectl needs: which kinds there are, their fields, and that the server
//! checks fields itself.

pub(super) mod builtin;

use super::discovery::{Group, group, groups};
use super::reply::Reply;
use super::resources::{Registry, ResourceDef, VersionDef, api_version};
use crate::status::ApiError;
use http::StatusCode;
use http::header::HeaderValue;
use serde_json::{Map, Value, json};
use std::hash::{DefaultHasher, Hash, Hasher};

/// The v2 document as protobuf (`swagger: "2.0"`, `info { title: "mesh", version: "1" }`): old
/// clients ask for nothing else, and an empty one sends them to what they know by themselves.
const V2_PROTOBUF: &[u8] = b"\x0a\x032.0\x12\x09\x0a\x04mesh\x12\x011";

/// Answers `/openapi/…`.
pub(super) fn answer(
    registry: &Registry,
    path: &[&str],
    accept: Option<&str>,
) -> Result<Reply, ApiError> {
    match path {
        ["v2"] => Ok(v2(accept)),
        ["v3"] => Ok(Reply::ok(&index(registry))),
        ["v3", "api", version] => document(&group(registry, ""), version),
        ["v3", "apis", name, version] => document(&group(registry, name), version),
        _ => Err(ApiError::no_such_path()),
    }
}

fn v2(accept: Option<&str>) -> Reply {
    if accept.is_some_and(|a| a.contains("protobuf")) {
        let media = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
        return Reply::bytes(StatusCode::OK, V2_PROTOBUF, HeaderValue::from_static(media));
    }
    Reply::ok(
        &json!({"swagger": "2.0", "info": {"title": "mesh", "version": "1"},
        "paths": {}, "definitions": {}}),
    )
}

fn index(registry: &Registry) -> Value {
    let mut paths = Map::new();
    let core = group(registry, "");
    for group in std::iter::once(core).chain(groups(registry)) {
        for version in group.versions() {
            let path = path_of(&group.name, &version);
            // The hash changes with what is served, as clients keep what they fetched.
            let mut hasher = DefaultHasher::new();
            schemas(&group, &version).to_string().hash(&mut hasher);
            let url = format!("/openapi/v3/{path}?hash={:016X}", hasher.finish());
            paths.insert(path, json!({"serverRelativeURL": url}));
        }
    }
    json!({"paths": paths})
}

fn path_of(group: &str, version: &str) -> String {
    if group.is_empty() {
        format!("api/{version}")
    } else {
        format!("apis/{group}/{version}")
    }
}

fn document(group: &Group, version: &str) -> Result<Reply, ApiError> {
    let mut paths = Map::new();
    for def in &group.resources {
        if def.version(version).is_some() {
            add_paths(&mut paths, def, version);
        }
    }
    if paths.is_empty() {
        return Err(ApiError::no_such_path());
    }
    Ok(Reply::ok(&json!({"openapi": "3.0.0",
        "info": {"title": "mesh", "version": "1"},
        "paths": paths,
        "components": {"schemas": schemas(group, version)}})))
}

fn gvk(def: &ResourceDef, version: &str) -> Value {
    json!({"group": def.group, "version": version, "kind": def.kind})
}

/// `io.linkerd.multicluster.v1alpha1.Link`.
fn schema_name(def: &ResourceDef, version: &str) -> String {
    if let Some((name, _)) = described(def) {
        return name.to_owned();
    }
    let mut parts: Vec<&str> = def.group.split('.').filter(|p| !p.is_empty()).collect();
    parts.reverse();
    parts.extend([version, def.kind.as_str()]);
    parts.join(".")
}

fn schemas(group: &Group, version: &str) -> Value {
    let mut out = Map::new();
    for def in &group.resources {
        match (def.version(version), described(def)) {
            (Some(_), Some((name, _))) => builtin::collect(name, &mut out),
            (Some(found), None) => {
                out.insert(schema_name(def, version), schema(def, found));
            }
            (None, _) => {}
        }
    }
    Value::Object(out)
}

fn described(def: &ResourceDef) -> Option<(&'static str, &'static Value)> {
    builtin::root(&def.group, &def.kind).filter(|_| !def.custom)
}

fn schema(def: &ResourceDef, version: &VersionDef) -> Value {
    let mut schema = version
        .schema
        .clone()
        .unwrap_or_else(|| json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}));
    if let Some(map) = schema.as_object_mut() {
        let gvk = gvk(def, &version.name);
        map.insert("x-kubernetes-group-version-kind".into(), json!([gvk]));
    }
    schema
}

fn add_paths(paths: &mut Map<String, Value>, def: &ResourceDef, version: &str) {
    let prefix = path_of(&def.group, version);
    let scope = if def.namespaced {
        "namespaces/{namespace}/"
    } else {
        ""
    };
    let collection = format!("/{prefix}/{scope}{}", def.plural);
    let verbs: Vec<&str> = def.verbs.iter().map(String::as_str).collect();
    let operation = |action: &str, body: Option<&[&str]>| operation(def, version, action, body);
    let mut all = Map::new();
    for (verb, method, action) in [("list", "get", "list"), ("create", "post", "post")] {
        if verbs.contains(&verb) {
            let body = (method == "post").then_some(&["*/*"] as &[&str]);
            all.insert(method.into(), operation(action, body));
        }
    }
    if !all.is_empty() {
        paths.insert(collection.clone(), Value::Object(all));
    }
    // Strategic merge is left out: clients know the built-in kinds well enough themselves.
    let patches: &[&str] = &[
        "application/apply-patch+yaml",
        "application/json-patch+json",
        "application/merge-patch+json",
    ];
    let mut one = Map::new();
    for (verb, method, body) in [
        ("get", "get", None),
        ("update", "put", Some(&["*/*"] as &[&str])),
        ("patch", "patch", Some(patches)),
        ("delete", "delete", None),
    ] {
        if verbs.contains(&verb) {
            one.insert(method.into(), operation(method, body));
        }
    }
    if !one.is_empty() {
        paths.insert(format!("{collection}/{{name}}"), Value::Object(one));
    }
}

fn operation(def: &ResourceDef, version: &str, action: &str, body: Option<&[&str]>) -> Value {
    let reference = json!({"$ref": format!("#/components/schemas/{}", schema_name(def, version))});
    let mut out = json!({
        "operationId": format!("{action}{}{}", def.kind, api_version(&def.group, version)),
        "responses": {"200": {"description": "OK",
            "content": {"application/json": {"schema": reference}}}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": gvk(def, version),
    });
    if let Some(media) = body {
        let query = |name: &str| json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}});
        out["parameters"] = json!([
            query("dryRun"),
            query("fieldManager"),
            query("fieldValidation")
        ]);
        let content: Map<String, Value> = media
            .iter()
            .map(|m| ((*m).to_owned(), json!({"schema": reference})))
            .collect();
        out["requestBody"] = json!({"content": content, "required": true});
    }
    out
}
