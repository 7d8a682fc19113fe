//! `update`, and the way every change to an existing object takes.

use super::super::convert;
use super::super::fields::managed::record_update;
use super::super::reply::Reply;
use super::super::request::WriteParams;
use super::{Call, body, crd, create};
use crate::status::{ApiError, Cause};
use http::StatusCode;
use serde_json::{Value, json};
use std::sync::Arc;

/// What a change is made of.
pub(super) struct Change {
    /// The object as it shall be.
    pub(super) new: Value,
    /// Whether `managedFields` already say who did it (server-side apply).
    pub(super) recorded: bool,
}

pub(super) fn update(call: &Call, subresource: Option<&str>) -> Result<Reply, ApiError> {
    let params = WriteParams::read(&call.query, "UpdateOptions")?;
    let new = body::object(call)?;
    if new["metadata"]["resourceVersion"]
        .as_str()
        .is_none_or(str::is_empty)
        && needs_version(call)
    {
        let detail = "must be specified for an update";
        let cause = Cause::invalid("metadata.resourceVersion", &json!(0), detail);
        let (group, kind) = (&call.def.group, &call.def.kind);
        return Err(ApiError::invalid(group, kind, call.name(), vec![cause]));
    }
    let change = |_: &Value| {
        Ok(Change {
            new,
            recorded: false,
        })
    };
    let (obj, warnings) = write(call, &params, subresource, change)?;
    Ok(call.show(StatusCode::OK, &obj)?.warn(warnings))
}

/// Kinds that are never replaced blindly.
fn needs_version(call: &Call) -> bool {
    call.def.custom || matches!(call.def.kind.as_str(), "Lease" | "CustomResourceDefinition")
}

/// Changes the object of the path to what `make` makes of it: checks, validates, records who did
/// it, stores. Returns it in the version of the call, with warnings.
pub(super) fn write(
    call: &Call,
    params: &WriteParams,
    subresource: Option<&str>,
    make: impl FnOnce(&Value) -> Result<Change, ApiError>,
) -> Result<(Arc<Value>, Vec<String>), ApiError> {
    let (store, def, key) = (&call.api.store, &call.def, call.key());
    store.exclusive(|| {
        let old = call.object()?;
        let Change { mut new, recorded } = make(&old)?;
        body::check(call, &mut new)?;
        preconditions(call, &old, &new)?;
        let warnings = create::decode(call, &mut new, params.validation)?;
        let written_down = recorded.then(|| new["metadata"]["managedFields"].clone());
        prepare(call, &old, &mut new, subresource)?;
        let served = crd::accept(call, Some(&old), &mut new)?;
        match written_down {
            Some(fields) => set_managed(&mut new, fields),
            None => {
                let api_version = call.api_version();
                let writer = call.writer(params.manager.as_deref(), &api_version);
                record_update(Some(&old), &mut new, &writer, &call.shape());
            }
        }
        if params.dry_run {
            return Ok((Arc::new(new), warnings));
        }
        let new = convert::stored(def, new);
        let stored = store.update(&key, call.namespace(), call.name(), |_| Ok(new))?;
        if let Some(served) = served {
            call.api.registry.insert(served);
        }
        Ok((convert::shown(def, call.version(), &stored), warnings))
    })
}

fn prepare(
    call: &Call,
    old: &Value,
    new: &mut Value,
    subresource: Option<&str>,
) -> Result<(), ApiError> {
    // What clients send back of these is ignored; what they leave out is not taken away.
    for field in [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        if let Some(metadata) = new["metadata"].as_object_mut() {
            match old["metadata"].get(field) {
                Some(was) => metadata.insert(field.to_owned(), was.clone()),
                None => metadata.remove(field),
            };
        }
    }
    call.api
        .schema
        .prepare_update(&call.def, call.version(), old, new, subresource)?;
    call.api.auth.admit(&call.user, &call.def, Some(old), new)?;
    new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"].clone();
    Ok(())
}

pub(super) fn set_managed(obj: &mut Value, fields: Value) {
    if let Some(metadata) = obj["metadata"].as_object_mut() {
        if fields.is_null() {
            metadata.remove("managedFields");
        } else {
            metadata.insert("managedFields".into(), fields);
        }
    }
}

/// A client that says which object (uid) or revision it changes must be right.
fn preconditions(call: &Call, old: &Value, new: &Value) -> Result<(), ApiError> {
    let (group, plural) = (&call.def.group, &call.def.plural);
    let text = |obj: &Value, field: &str| {
        obj["metadata"][field]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let (given, found) = (text(new, "uid"), text(old, "uid"));
    if !given.is_empty() && given != found {
        let detail = format!(
            "Precondition failed: UID in precondition: {given}, UID in object meta: {found}"
        );
        return Err(ApiError::conflict_because(
            group,
            plural,
            call.name(),
            &detail,
        ));
    }
    let (given, found) = (text(new, "resourceVersion"), text(old, "resourceVersion"));
    if !given.is_empty() && given != found {
        return Err(ApiError::conflict(group, plural, call.name()));
    }
    Ok(())
}
