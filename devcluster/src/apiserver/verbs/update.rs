//! `update`, and the way every change to an existing object takes.

use super::super::admission::{Gate, Operation, Subject};
use super::super::convert;
use super::super::fields::managed::record_update;
use super::super::reply::Reply;
use super::super::request::WriteParams;
use super::super::resources::ResourceDef;
use super::{Call, body, crd, create};
use crate::status::{ApiError, Cause};
use http::StatusCode;
use serde_json::{Value, json};
use std::sync::Arc;

/// How often a write starts over because the object changed while webhooks were asked.
const TRIES: usize = 5;

/// What a change is made of.
pub(super) struct Change {
    /// The object as it shall be.
    pub(super) new: Value,
    /// Whether `managedFields` already say who did it (server-side apply).
    pub(super) recorded: bool,
}

pub(super) async fn update(call: &Call, subresource: Option<&str>) -> Result<Reply, ApiError> {
    let params = WriteParams::read(&call.query, "UpdateOptions")?;
    let new = body::object(call)?;
    if new["metadata"]["resourceVersion"]
        .as_str()
        .is_none_or(str::is_empty)
        && needs_version(call)
    {
        let detail = "must be specified for an update";
        let cause = Cause::invalid("metadata.resourceVersion", &json!(0), detail);
        let def = &call.def;
        let kind = if def.custom { &def.kind } else { &def.plural };
        return Err(ApiError::invalid(
            &def.group,
            kind,
            call.name(),
            vec![cause],
        ));
    }
    let change = |_: &Value| {
        Ok(Change {
            new: new.clone(),
            recorded: false,
        })
    };
    let (obj, warnings) = write(call, &params, subresource, change).await?;
    Ok(call.show(StatusCode::OK, &obj)?.warn(warnings))
}

/// Kinds that are never replaced blindly.
fn needs_version(call: &Call) -> bool {
    let kinds = [
        "Lease",
        "CustomResourceDefinition",
        "MutatingWebhookConfiguration",
        "ValidatingWebhookConfiguration",
        "PodDisruptionBudget",
    ];
    call.def.custom || kinds.contains(&call.def.kind.as_str())
}

/// Changes the object of the path to what `make` makes of it: checks, shows it to webhooks,
/// validates, records who did it, stores. Returns it in the version of the call, with warnings.
pub(super) async fn write(
    call: &Call,
    params: &WriteParams,
    subresource: Option<&str>,
    make: impl Fn(&Value) -> Result<Change, ApiError>,
) -> Result<(Arc<Value>, Vec<String>), ApiError> {
    for _ in 0..TRIES {
        let options = call.write_options("UpdateOptions", params);
        let gate = call.gate(Operation::Update, None, options, params.dry_run);
        if gate.is_open() {
            return write_at_once(call, params, subresource, make);
        }
        if let Some(written) = write_guarded(call, params, subresource, gate, &make).await? {
            return Ok(written);
        }
    }
    Err(call.conflict())
}

/// [`write`] where nobody else has a say.
pub(super) fn write_at_once(
    call: &Call,
    params: &WriteParams,
    subresource: Option<&str>,
    make: impl FnOnce(&Value) -> Result<Change, ApiError>,
) -> Result<(Arc<Value>, Vec<String>), ApiError> {
    call.api.store.exclusive(|| {
        let old = call.object()?;
        let draft = draft(call, params, &old, make)?;
        let managed = draft.managed.clone();
        let ready = ready(call, params, subresource, &old, (draft.new, managed))?;
        Ok((keep(call, params, ready)?, draft.warnings))
    })
}

/// One try of [`write`] with webhooks; nothing when the object changed while they were asked.
async fn write_guarded(
    call: &Call,
    params: &WriteParams,
    subresource: Option<&str>,
    mut gate: Gate<'_>,
    make: impl FnOnce(&Value) -> Result<Change, ApiError>,
) -> Result<Option<(Arc<Value>, Vec<String>)>, ApiError> {
    let store = &call.api.store;
    let old = call.object()?;
    let Draft {
        mut new,
        mut managed,
        mut warnings,
    } = draft(call, params, &old, make)?;
    if gate.changes() {
        let said = |obj: &Value, field: &str| !obj["metadata"][field].is_null();
        let left_out = ["uid", "creationTimestamp"].map(|f| (f, !said(&new, f)));
        let schema = &call.api.schema;
        schema.settle(&call.def, call.version(), &old, &mut new, subresource);
        match managed {
            Some(fields) => set_managed(&mut new, fields),
            None => record(call, params, &old, &mut new),
        }
        // Webhooks see what the client said.
        if let Some(metadata) = new["metadata"].as_object_mut() {
            metadata.retain(|field, _| !left_out.contains(&(field.as_str(), true)));
        }
        let mut subject = Subject {
            object: Some(new),
            old: Some(&old),
        };
        gate.mutate(&mut subject).await?;
        new = subject.object.take().unwrap_or_default();
        body::check(call, &mut new)?;
        managed = Some(new["metadata"]["managedFields"].clone());
    }
    let rehearse = || ready(call, params, subresource, &old, (new, managed));
    let ready = store.exclusive(rehearse)?;
    if gate.judges() {
        let subject = Subject {
            object: Some(ready.new.clone()),
            old: Some(&old),
        };
        gate.validate(&subject).await?;
    }
    warnings.extend(gate.warnings());
    store.exclusive(|| {
        let now = call.object()?;
        if now["metadata"]["resourceVersion"] != old["metadata"]["resourceVersion"] {
            return Ok(None);
        }
        Ok(Some((keep(call, params, ready)?, warnings)))
    })
}

/// An object as its writer wants it.
struct Draft {
    new: Value,
    /// `managedFields`, where they already say who did it.
    managed: Option<Value>,
    warnings: Vec<String>,
}

fn draft(
    call: &Call,
    params: &WriteParams,
    old: &Value,
    make: impl FnOnce(&Value) -> Result<Change, ApiError>,
) -> Result<Draft, ApiError> {
    let Change { mut new, recorded } = make(old)?;
    body::check(call, &mut new)?;
    preconditions(call, old, &new)?;
    let warnings = create::decode(call, &mut new, params.validation)?;
    let managed = recorded.then(|| new["metadata"]["managedFields"].clone());
    Ok(Draft {
        new,
        managed,
        warnings,
    })
}

/// An object as it may be stored.
struct Ready {
    new: Value,
    /// What to serve from then on.
    served: Option<ResourceDef>,
}

fn ready(
    call: &Call,
    params: &WriteParams,
    subresource: Option<&str>,
    old: &Value,
    (mut new, managed): (Value, Option<Value>),
) -> Result<Ready, ApiError> {
    prepare(call, old, &mut new, subresource)?;
    let served = crd::accept(call, Some(old), &mut new)?;
    match managed {
        Some(fields) => set_managed(&mut new, fields),
        None => record(call, params, old, &mut new),
    }
    Ok(Ready { new, served })
}

fn record(call: &Call, params: &WriteParams, old: &Value, new: &mut Value) {
    let api_version = call.api_version();
    let writer = call.writer(params.manager.as_deref(), &api_version);
    record_update(Some(old), new, &writer, &call.shape());
}

fn keep(call: &Call, params: &WriteParams, ready: Ready) -> Result<Arc<Value>, ApiError> {
    if params.dry_run {
        return Ok(Arc::new(ready.new));
    }
    let (store, def) = (&call.api.store, &call.def);
    let new = convert::stored(def, ready.new);
    let stored = store.update(&call.key(), call.namespace(), call.name(), |_| Ok(new))?;
    if let Some(served) = ready.served {
        call.api.registry.insert(served);
    }
    Ok(convert::shown(def, call.version(), &stored))
}

/// What clients send back of these is ignored; what they leave out is not taken away.
fn restore(old: &Value, new: &mut Value) {
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
}

fn prepare(
    call: &Call,
    old: &Value,
    new: &mut Value,
    subresource: Option<&str>,
) -> Result<(), ApiError> {
    restore(old, new);
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
