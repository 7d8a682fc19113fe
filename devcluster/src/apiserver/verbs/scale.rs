//! The `scale` subresource: the number of replicas, whatever else the object is.

use super::super::admission::{Operation, Subject};
use super::super::fields::shape::Shape;
use super::super::patch::{self, PatchKind};
use super::super::reply::Reply;
use super::super::request::WriteParams;
use super::super::resources::ScalePaths;
use super::super::tables::jsonpath;
use super::update::{Change, write_at_once};
use super::{Call, body};
use crate::status::{ApiError, Cause};
use http::Method;
use serde_json::{Value, json};

pub(super) async fn handle(method: &Method, call: &Call) -> Result<Reply, ApiError> {
    let version = call.def.version(call.version());
    let paths = version
        .and_then(|v| v.scale.clone())
        .ok_or_else(ApiError::no_such_path)?;
    match *method {
        Method::GET => Ok(Reply::ok(&scale_of(call, &*call.object()?, &paths))),
        Method::PUT => {
            let params = WriteParams::read(&call.query, "UpdateOptions")?;
            let given = body::parse(&call.body, &call.content_type)?;
            set(call, &params, &paths, |_| Ok(given)).await
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
            .await
        }
        _ => Err(ApiError::method_not_allowed()),
    }
}

async fn set(
    call: &Call,
    params: &WriteParams,
    paths: &ScalePaths,
    make: impl FnOnce(&Value) -> Result<Value, ApiError>,
) -> Result<Reply, ApiError> {
    let old = call.object()?;
    let scale = make(&old)?;
    check(call, &scale)?;
    let options = call.write_options("UpdateOptions", params);
    let shows = Some(("autoscaling", "v1", "Scale"));
    let gate = call.gate_of(shows, Operation::Update, None, options, params.dry_run);
    let subject = Subject {
        object: Some(completed(call, &old, scale, paths)),
        old: Some(&scale_of(call, &old, paths)),
    };
    let (scale, mut warnings) = gate.review(subject).await?;
    let scale = scale.unwrap_or_default();
    check(call, &scale)?;
    let change = |old: &Value| {
        let mut new = old.clone();
        let wanted = replicas(&scale);
        put(&mut new, &paths.spec_replicas, wanted)?;
        let given = &scale["metadata"]["resourceVersion"];
        if given.as_str().is_some_and(|v| !v.is_empty()) {
            new["metadata"]["resourceVersion"] = given.clone();
        }
        Ok(Change {
            new,
            recorded: false,
        })
    };
    let (obj, more) = write_at_once(call, params, None, change)?;
    warnings.extend(more);
    Ok(Reply::ok(&scale_of(call, &obj, paths)).warn(warnings))
}

fn replicas(scale: &Value) -> Value {
    match &scale["spec"]["replicas"] {
        Value::Null => json!(0),
        wanted => wanted.clone(),
    }
}

fn check(call: &Call, scale: &Value) -> Result<(), ApiError> {
    let wanted = replicas(scale);
    if wanted.as_u64().is_some() {
        return Ok(());
    }
    let detail = "must be greater than or equal to 0";
    let cause = Cause::invalid("spec.replicas", &wanted, detail);
    Err(ApiError::invalid(
        "autoscaling",
        "Scale",
        call.name(),
        vec![cause],
    ))
}

/// What a client says of a scale, with what it leaves out.
fn completed(call: &Call, old: &Value, scale: Value, paths: &ScalePaths) -> Value {
    let mut whole = scale_of(call, old, paths);
    whole["spec"] = scale["spec"].clone();
    // Only a client that says which revision it changes is held to it.
    whole["metadata"]["resourceVersion"] = scale["metadata"]["resourceVersion"].clone();
    whole
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
