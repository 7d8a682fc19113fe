//! `create`.

use super::super::admission::{Operation, Subject};
use super::super::convert;
use super::super::fields::managed::record_update;
use super::super::reply::Reply;
use super::super::request::WriteParams;
use super::update::set_managed;
use super::{Call, body, crd};
use crate::schema::FieldValidation;
use crate::schema::json::name;
use crate::status::{ApiError, Cause};
use crate::store::{new_uid, now};
use http::StatusCode;
use serde_json::{Value, json};
use std::sync::Arc;

/// How often a generated name that is taken is drawn again.
const DRAWS: usize = 8;
/// Longest part of `generateName` that is kept.
const MAX_BASE: usize = 58;

pub(super) async fn create(call: &Call) -> Result<Reply, ApiError> {
    if call.def.verbs == ["create"] {
        let body = body::object(call)?;
        let user = &call.user;
        let answer = call
            .api
            .auth
            .review(user, &call.def.kind, call.namespace(), body)?;
        return Ok(Reply::json(StatusCode::CREATED, &answer));
    }
    if call.def.namespaced && call.namespace().is_none() {
        return Err(ApiError::method_not_allowed());
    }
    let params = WriteParams::read(&call.query, "CreateOptions")?;
    let mut obj = body::object(call)?;
    if obj["metadata"]["resourceVersion"]
        .as_str()
        .is_some_and(|v| !v.is_empty())
    {
        let message = "resourceVersion should not be set on objects to be created";
        return Err(ApiError::bad_request(message));
    }
    let mut warnings = decode(call, &mut obj, params.validation)?;
    let (written, more) = made(call, obj, &params).await?;
    warnings.extend(more);
    Ok(call.show(StatusCode::CREATED, &written)?.warn(warnings))
}

/// Stores a new object (decoded), made by who calls. Returns it in the version of the call, with
/// what webhooks have to say.
pub(super) async fn made(
    call: &Call,
    obj: Value,
    params: &WriteParams,
) -> Result<(Arc<Value>, Vec<String>), ApiError> {
    let api_version = call.api_version();
    let writer = call.writer(params.manager.as_deref(), &api_version);
    insert(call, obj, params, |obj| {
        record_update(None, obj, &writer, &call.shape());
    })
    .await
}

/// Type check and pruning, with the warnings of the version itself.
pub(super) fn decode(
    call: &Call,
    obj: &mut Value,
    mode: FieldValidation,
) -> Result<Vec<String>, ApiError> {
    let schema = &call.api.schema;
    let warnings = schema.decode(&call.def, call.version(), obj, mode)?;
    Ok(with_deprecation(call, warnings))
}

/// The same of the configuration in an apply patch.
pub(super) fn decode_applied(
    call: &Call,
    config: &mut Value,
    mode: FieldValidation,
) -> Result<Vec<String>, ApiError> {
    let schema = &call.api.schema;
    let warnings = schema.read(&call.def, call.version(), config, mode)?;
    Ok(with_deprecation(call, warnings))
}

fn with_deprecation(call: &Call, mut warnings: Vec<String>) -> Vec<String> {
    let version = call.def.version(call.version());
    warnings.extend(version.and_then(|v| v.deprecation_warning.clone()));
    warnings
}

/// Calls `write` with the object named; draws again while a generated name is taken.
fn named_writes(
    call: &Call,
    obj: &Value,
    write: impl Fn(Value) -> Result<Arc<Value>, ApiError>,
) -> Result<Arc<Value>, ApiError> {
    let metadata = &obj["metadata"];
    if metadata["name"].as_str().is_some_and(|n| !n.is_empty()) {
        return write(obj.clone());
    }
    let Some(base) = metadata["generateName"].as_str().filter(|b| !b.is_empty()) else {
        let cause = Cause::required("metadata.name", "name or generateName is required");
        return Err(ApiError::invalid(
            &call.def.group,
            &call.def.kind,
            "",
            vec![cause],
        ));
    };
    let base: String = base.chars().take(MAX_BASE).collect();
    let mut last = None;
    for _ in 0..DRAWS {
        let mut named = obj.clone();
        named["metadata"]["name"] = json!(format!("{base}{}", suffix()));
        match write(named) {
            Err(error) if error.reason == "AlreadyExists" => last = Some(error),
            other => return other,
        }
    }
    Err(last.unwrap_or_else(|| ApiError::internal("no generated name was free")))
}

/// Five characters without vowels, so that no words come out.
fn suffix() -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let random: [u8; 5] = rand::random();
    random
        .iter()
        .map(|b| char::from(ALPHABET[usize::from(*b) % ALPHABET.len()]))
        .collect()
}

/// The `managedFields` of a new object: its maker owns what they said and its defaults, but not
/// what the server adds when it admits and stores it.
fn managed(call: &Call, obj: &Value, record: impl FnOnce(&mut Value)) -> Value {
    let mut said = obj.clone();
    let (def, version) = (&call.def, call.version());
    call.api.schema.defaults(def, version, &mut said);
    record(&mut said);
    said["metadata"]["managedFields"].take()
}

/// Shows a new object (decoded) to webhooks, names, completes, validates and stores it; `record`
/// writes down who made it.
pub(super) async fn insert(
    call: &Call,
    mut obj: Value,
    params: &WriteParams,
    record: impl FnOnce(&mut Value),
) -> Result<(Arc<Value>, Vec<String>), ApiError> {
    reset(&mut obj);
    let mut managed = managed(call, &obj, record);
    let options = call.write_options("CreateOptions", params);
    let mut gate = call.gate(Operation::Create, Some(&obj), options, params.dry_run);
    if gate.changes() {
        let schema = &call.api.schema;
        schema.admit(&call.def, call.version(), &mut obj)?;
        set_managed(&mut obj, managed);
        let mut subject = Subject {
            object: Some(obj),
            old: None,
        };
        gate.mutate(&mut subject).await?;
        obj = subject.object.take().unwrap_or_default();
        body::check(call, &mut obj)?;
        managed = obj["metadata"]["managedFields"].clone();
        reset(&mut obj);
    }
    if let Some(metadata) = obj["metadata"].as_object_mut() {
        metadata.insert("uid".into(), json!(new_uid()));
        metadata.insert("creationTimestamp".into(), json!(now()));
    }
    if gate.judges() {
        let rehearsed = named_writes(call, &obj, |obj| store(call, obj, &managed, true))?;
        let subject = Subject {
            object: Some((*rehearsed).clone()),
            old: None,
        };
        gate.validate(&subject).await?;
        // With the name and the addresses it was judged with.
        obj = subject.object.unwrap_or_default();
    }
    let stored = named_writes(call, &obj, |obj| store(call, obj, &managed, params.dry_run))?;
    Ok((stored, gate.warnings()))
}

/// Drops what only the server says.
fn reset(obj: &mut Value) {
    if let Some(metadata) = obj["metadata"].as_object_mut() {
        for field in [
            "resourceVersion",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "selfLink",
            "uid",
            "creationTimestamp",
        ] {
            metadata.remove(field);
        }
    }
}

/// Completes, validates and stores a new object (named).
fn store(
    call: &Call,
    mut obj: Value,
    managed: &Value,
    dry_run: bool,
) -> Result<Arc<Value>, ApiError> {
    let (api, def) = (&call.api, &call.def);
    let name = name(&obj).to_owned();
    api.store.exclusive(|| {
        crd::refuse_while_terminating(call)?;
        api.schema.prepare_create(def, call.version(), &mut obj)?;
        api.auth.admit(&call.user, def, None, &obj)?;
        let served = crd::accept(call, None, &mut obj)?;
        set_managed(&mut obj, managed.clone());
        if api
            .store
            .get(&call.key(), call.namespace(), &name)
            .is_some()
        {
            return Err(ApiError::already_exists(&def.group, &def.plural, &name));
        }
        if dry_run {
            return Ok(Arc::new(obj));
        }
        let stored = api.store.create(&call.key(), convert::stored(def, obj))?;
        if let Some(served) = served {
            api.registry.insert(served);
        }
        Ok(convert::shown(def, call.version(), &stored))
    })
}
