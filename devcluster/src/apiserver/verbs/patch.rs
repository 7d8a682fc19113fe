//! `patch`: JSON, merge, strategic merge, and server-side apply (which also creates).

use super::super::fields::managed;
use super::super::fields::walk::without_nulls;
use super::super::patch::{self, PatchKind};
use super::super::reply::Reply;
use super::super::request::WriteParams;
use super::update::{Change, write};
use super::{Call, body, create};
use crate::auth::{Attributes, Decision, forbidden};
use crate::status::{ApiError, Cause};
use http::StatusCode;
use serde_json::{Value, json};

pub(super) async fn patch(call: &Call, subresource: Option<&str>) -> Result<Reply, ApiError> {
    let kind = PatchKind::of(&call.content_type, call.def.custom)?;
    let params = WriteParams::read(&call.query, "PatchOptions")?;
    let refused = |cause| ApiError::invalid("meta.k8s.io", "PatchOptions", "", vec![cause]);
    if kind == PatchKind::Apply {
        if params.manager.is_none() {
            return Err(refused(Cause::required(
                "fieldManager",
                "is required for apply patch",
            )));
        }
        return apply(call, &params, subresource).await;
    }
    if call.query.text("force").is_some() {
        let detail = "may not be specified for non-apply patch";
        return Err(refused(Cause::forbidden("force", detail)));
    }
    let change = |old: &Value| {
        let new = patch::apply(kind, old, &call.body, &call.shape())?;
        Ok(Change {
            new,
            recorded: false,
        })
    };
    let (obj, warnings) = write(call, &params, subresource, change).await?;
    Ok(call.show(StatusCode::OK, &obj)?.warn(warnings))
}

/// Server-side apply: the body is what this manager wants, and all it wants.
async fn apply(
    call: &Call,
    params: &WriteParams,
    subresource: Option<&str>,
) -> Result<Reply, ApiError> {
    let mut config = body::yaml(&call.body)?;
    if !config.is_object() {
        return Err(ApiError::bad_request(
            "the body of an apply patch is not an object",
        ));
    }
    if config["metadata"]["managedFields"]
        .as_array()
        .is_some_and(|l| !l.is_empty())
    {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    for field in ["apiVersion", "kind"] {
        if config[field].as_str().is_none_or(str::is_empty) {
            return Err(ApiError::bad_request(format!(
                "{field} must be set in an apply patch"
            )));
        }
    }
    without_nulls(&mut config);
    body::check(call, &mut config)?;
    let mut warnings = create::decode_applied(call, &mut config, params.validation)?;
    reset(call, &mut config, subresource);

    let api_version = call.api_version();
    let writer = call.writer(params.manager.as_deref(), &api_version);
    let missing = call
        .api
        .store
        .get(&call.key(), call.namespace(), call.name())
        .is_none();
    if missing && subresource.is_none() {
        may_create(call)?;
        let uid_wanted = config["metadata"]["uid"]
            .as_str()
            .is_some_and(|u| !u.is_empty());
        if uid_wanted {
            return Err(call.not_found());
        }
        let mut new = managed::apply(&json!({}), &config, &writer, &call.shape(), true)?;
        create::decode(call, &mut new, params.validation)?;
        let written_down = new["metadata"]["managedFields"].take();
        let (written, more) = create::insert(call, new, params, |obj| {
            obj["metadata"]["managedFields"] = written_down;
        })
        .await?;
        warnings.extend(more);
        return Ok(call.show(StatusCode::CREATED, &written)?.warn(warnings));
    }
    let change = |old: &Value| {
        let new = managed::apply(old, &config, &writer, &call.shape(), params.force)?;
        Ok(Change {
            new,
            recorded: true,
        })
    };
    let (obj, more) = write(call, params, subresource, change).await?;
    warnings.extend(more);
    warnings.dedup();
    Ok(call.show(StatusCode::OK, &obj)?.warn(warnings))
}

/// Drops from a configuration what this endpoint does not write, so that nobody owns it.
fn reset(call: &Call, config: &mut Value, subresource: Option<&str>) {
    let Some(map) = config.as_object_mut() else {
        return;
    };
    let apart = call
        .def
        .version(call.version())
        .is_some_and(|v| v.status_subresource);
    match subresource {
        Some("status") => {
            map.retain(|key, _| {
                matches!(key.as_str(), "apiVersion" | "kind" | "metadata" | "status")
            });
            if let Some(metadata) = map.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.retain(|key, _| {
                    matches!(
                        key.as_str(),
                        "name" | "namespace" | "uid" | "resourceVersion"
                    )
                });
            }
        }
        _ if apart => {
            map.remove("status");
        }
        _ => {}
    }
}

/// An apply that creates needs the right to create.
fn may_create(call: &Call) -> Result<(), ApiError> {
    let attributes = Attributes {
        verb: "create",
        group: &call.def.group,
        version: call.version(),
        resource: &call.def.plural,
        subresource: "",
        namespace: call.path.namespace.as_deref().unwrap_or_default(),
        name: call.name(),
        non_resource_path: None,
    };
    match call.api.auth.authorize(&call.user, &attributes) {
        Decision::Allow => Ok(()),
        Decision::Deny { .. } => Err(forbidden(&call.user, &attributes)),
    }
}
