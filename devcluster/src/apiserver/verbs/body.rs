//! Reading the object a client sends, and checking that it is the one the path is about.

use super::Call;
use crate::apiserver::protobuf;
use crate::status::ApiError;
use serde_json::{Value, json};

const ACCEPTED: &str = "application/json, application/yaml";

/// Parses a body as JSON, YAML or protobuf, by its content type.
pub(super) fn parse(bytes: &[u8], content_type: &str) -> Result<Value, ApiError> {
    let media = content_type.split(';').next().unwrap_or_default().trim();
    let value: Value = match media {
        "" | "application/json" => serde_json::from_slice(bytes).map_err(|e| {
            ApiError::bad_request(format!("couldn't get version/kind; json parse error: {e}"))
        })?,
        "application/yaml" => yaml(bytes)?,
        "application/vnd.kubernetes.protobuf" => protobuf::decode(bytes)?,
        _ => return Err(ApiError::unsupported_media_type(ACCEPTED)),
    };
    if !value.is_object() {
        return Err(ApiError::bad_request(
            "the body of the request is not an object",
        ));
    }
    Ok(value)
}

/// Parses YAML (and so JSON).
pub(super) fn yaml(bytes: &[u8]) -> Result<Value, ApiError> {
    serde_saphyr::from_slice(bytes)
        .map_err(|e| ApiError::bad_request(format!("error decoding YAML: {e}")))
}

/// The object of a create or update, checked against the path.
pub(super) fn object(call: &Call) -> Result<Value, ApiError> {
    let mut obj = parse(&call.body, &call.content_type)?;
    check(call, &mut obj)?;
    Ok(obj)
}

/// Checks an object's version, kind, namespace and name against the path, and completes them.
pub(super) fn check(call: &Call, obj: &mut Value) -> Result<(), ApiError> {
    check_kind(call, obj)?;
    if obj["metadata"].is_null() {
        obj["metadata"] = json!({});
    }
    let Some(metadata) = obj["metadata"].as_object_mut() else {
        return Err(ApiError::bad_request("metadata is not an object"));
    };
    for field in [
        "name",
        "namespace",
        "generateName",
        "resourceVersion",
        "uid",
    ] {
        if metadata
            .get(field)
            .is_some_and(|v| !v.is_string() && !v.is_null())
        {
            let message = format!("metadata.{field} is not a string");
            return Err(ApiError::bad_request(message));
        }
    }
    let text = |field: &str| {
        metadata
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let (namespace, name) = (text("namespace").to_owned(), text("name").to_owned());
    match call.namespace() {
        Some(wanted) if !namespace.is_empty() && namespace != wanted => {
            return Err(ApiError::bad_request(
                "the namespace of the provided object does not match the namespace sent on the \
                 request",
            ));
        }
        Some(wanted) => {
            metadata.insert("namespace".into(), json!(wanted));
        }
        None => {
            metadata.remove("namespace");
        }
    }
    if let Some(wanted) = &call.path.name {
        if !name.is_empty() && name != *wanted {
            return Err(ApiError::bad_request(format!(
                "the name of the object ({name}) does not match the name on the URL ({wanted})"
            )));
        }
        metadata.insert("name".into(), json!(wanted));
    }
    Ok(())
}

fn check_kind(call: &Call, obj: &mut Value) -> Result<(), ApiError> {
    let wanted = call.api_version();
    let kind = call.def.kind.as_str();
    let given = |field: &str| obj.get(field).and_then(Value::as_str).unwrap_or_default();
    let (given_version, given_kind) = (given("apiVersion").to_owned(), given("kind").to_owned());
    if call.def.custom && given_kind.is_empty() {
        return Err(ApiError::bad_request("Object 'Kind' is missing"));
    }
    if !given_kind.is_empty() && given_kind != kind {
        let (group, version) = given_version
            .split_once('/')
            .unwrap_or(("", &given_version));
        if call.api.registry.by_kind(group, &given_kind).is_none() {
            return Err(ApiError::bad_request(format!(
                "no kind {given_kind:?} is registered for version {given_version:?} in this \
                 server"
            )));
        }
        return Err(ApiError::bad_request(format!(
            "{given_kind} in version {version:?} cannot be handled as a {kind}: this path serves \
             {kind} ({wanted})"
        )));
    }
    if !given_version.is_empty() && given_version != wanted {
        return Err(ApiError::bad_request(format!(
            "the API version in the data ({given_version}) does not match the expected API \
             version ({wanted})"
        )));
    }
    obj["apiVersion"] = json!(wanted);
    obj["kind"] = json!(kind);
    Ok(())
}
