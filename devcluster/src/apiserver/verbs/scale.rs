//! The `scale` subresource: the number of replicas, whatever else the object is.

use super::super::fields::shape::Shape;
use super::super::patch::{self, PatchKind};
use super::super::reply::Reply;
use super::super::request::WriteParams;
use super::super::resources::ScalePaths;
use super::super::tables::jsonpath;
use super::update::{Change, write};
use super::{Call, body};
use crate::status::{ApiError, Cause};
use http::Method;
use serde_json::{Value, json};

pub(super) fn handle(method: &Method, call: &Call) -> Result<Reply, ApiError> {
    let version = call.def.version(call.version());
    let paths = version
        .and_then(|v| v.scale.clone())
        .ok_or_else(ApiError::no_such_path)?;
    match *method {
        Method::GET => Ok(Reply::ok(&scale_of(call, &*call.object()?, &paths))),
        Method::PUT => {
            let params = WriteParams::read(&call.query, "UpdateOptions")?;
            let given = body::parse(&call.body, &call.content_type)?;
            set(call, &params, &paths, |_| Ok(given))
        }
        Method::PATCH => {
            let kind = PatchKind::of(&call.content_type, call.def.custom)?;
            if kind == PatchKind::Apply {
                let detail = "apply the object itself: scale is not applied";
                return Err(ApiError::new(415, "UnsupportedMediaType", detail));
            }
            let params = WriteParams::read(&call.query, "PatchOptions")?;
            set(call, &params, &paths, |old| {
                let scale = scale_of(call, old, &paths);
                patch::apply(kind, &scale, &call.body, &Shape::Unknown)
            })
        }
        _ => Err(ApiError::method_not_allowed()),
    }
}

fn set(
    call: &Call,
    params: &WriteParams,
    paths: &ScalePaths,
    make: impl FnOnce(&Value) -> Result<Value, ApiError>,
) -> Result<Reply, ApiError> {
    let change = |old: &Value| {
        let scale = make(old)?;
        let replicas = &scale["spec"]["replicas"];
        let wanted = if replicas.is_null() {
            &json!(0)
        } else {
            replicas
        };
        if wanted.as_u64().is_none() {
            let detail = "must be greater than or equal to 0";
            let cause = Cause::invalid("spec.replicas", wanted, detail);
            return Err(ApiError::invalid(
                "autoscaling",
                "Scale",
                call.name(),
                vec![cause],
            ));
        }
        let mut new = old.clone();
        put(&mut new, &paths.spec_replicas, wanted.clone())?;
        let given = &scale["metadata"]["resourceVersion"];
        if given.as_str().is_some_and(|v| !v.is_empty()) {
            new["metadata"]["resourceVersion"] = given.clone();
        }
        Ok(Change {
            new,
            recorded: false,
        })
    };
    let (obj, warnings) = write(call, params, None, change)?;
    Ok(Reply::ok(&scale_of(call, &obj, paths)).warn(warnings))
}

/// Sets the value at a path of plain fields.
fn put(obj: &mut Value, path: &str, value: Value) -> Result<(), ApiError> {
    let mut at = obj;
    for field in path.split('.').filter(|f| !f.is_empty()) {
        if at.is_null() {
            *at = json!({});
        }
        if !at.is_object() {
            return Err(ApiError::internal(format!("{path} leads through {at}")));
        }
        at = &mut at[field];
    }
    *at = value;
    Ok(())
}

fn scale_of(call: &Call, obj: &Value, paths: &ScalePaths) -> Value {
    let at = |path: &str| jsonpath::find(obj, path).first().map(|v| (*v).clone());
    let metadata = &obj["metadata"];
    let mut scale = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": metadata["name"], "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"],
            "creationTimestamp": metadata["creationTimestamp"],
        },
        "spec": {},
        "status": {"replicas": at(&paths.status_replicas).unwrap_or_else(|| json!(0))},
    });
    if let Some(wanted) = at(&paths.spec_replicas).filter(|wanted| *wanted != 0) {
        scale["spec"]["replicas"] = wanted;
    }
    if call.def.namespaced {
        scale["metadata"]["namespace"] = metadata["namespace"].clone();
    }
    let selector = match &paths.label_selector {
        Some(path) => at(path),
        None => obj["spec"]["selector"]["matchLabels"]
            .as_object()
            .map(|labels| {
                let pair =
                    |(k, v): (&String, &Value)| format!("{k}={}", v.as_str().unwrap_or_default());
                json!(labels.iter().map(pair).collect::<Vec<_>>().join(","))
            }),
    };
    if let Some(selector) = selector {
        scale["status"]["selector"] = selector;
    }
    scale
}
