//! `delete` and `deletecollection`.

use super::super::admission::{Operation, Subject};
use super::super::convert;
use super::super::reply::Reply;
use super::super::request::{ListParams, Query};
use super::{Call, body, read};
use crate::status::{ApiError, Cause};
use crate::store::{DeleteOptions, Deleted, Propagation};
use http::StatusCode;
use serde_json::{Value, json};
use std::sync::Arc;

/// Namespaces the cluster cannot do without.
const KEPT: &[&str] = &["default", "kube-system", "kube-public"];

pub(super) async fn delete(call: &Call) -> Result<Reply, ApiError> {
    let (options, given) = options(call)?;
    if call.def.kind == "Namespace" && KEPT.contains(&call.name()) {
        let detail = "this namespace may not be deleted";
        return Err(ApiError::forbidden("", "namespaces", call.name(), detail));
    }
    let store = &call.api.store;
    let warnings = match call.object() {
        Ok(old) => reviewed(call, &old, &given, &options).await?,
        // The store says it better.
        Err(_) => Vec::new(),
    };
    match store.delete(&call.key(), call.namespace(), call.name(), &options) {
        Ok(Deleted::Removed(last)) if shown_when_gone(call) => {
            let shown = convert::shown(&call.def, call.version(), &last);
            Ok(call.show(StatusCode::OK, &shown)?.warn(warnings))
        }
        Ok(Deleted::Removed(last)) => Ok(Reply::ok(&removed(call, &last)).warn(warnings)),
        Ok(Deleted::Terminating(obj)) => {
            let shown = convert::shown(&call.def, call.version(), &obj);
            Ok(call.show(StatusCode::OK, &shown)?.warn(warnings))
        }
        // Under the name the client knows it by.
        Err(error) if error.code == 404 => Err(call.not_found()),
        Err(error) => Err(error),
    }
}

/// Lets webhooks refuse the end of an object; their warnings.
async fn reviewed(
    call: &Call,
    old: &Value,
    given: &Value,
    options: &DeleteOptions,
) -> Result<Vec<String>, ApiError> {
    let mut told = given.clone();
    told["kind"] = json!("DeleteOptions");
    told["apiVersion"] = json!("meta.k8s.io/v1");
    let gate = call.gate(Operation::Delete, Some(old), told, options.dry_run);
    let subject = Subject {
        object: None,
        old: Some(old),
    };
    Ok(gate.review(subject).await?.1)
}

/// Kinds whose last state is the answer, as in kube-apiserver.
fn shown_when_gone(call: &Call) -> bool {
    let kinds = ["pods", "services", "serviceaccounts"];
    call.def.group.is_empty() && kinds.contains(&call.def.plural.as_str())
}

fn removed(call: &Call, last: &Value) -> Value {
    let mut details = json!({"name": call.name(), "kind": call.def.plural,
        "uid": last["metadata"]["uid"]});
    if !call.def.group.is_empty() {
        details["group"] = json!(call.def.group);
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": details})
}

pub(super) async fn delete_collection(call: &Call) -> Result<Reply, ApiError> {
    let params = ListParams::read(&call.query)?;
    params.fields.check(&call.def)?;
    let (options, given) = options(call)?;
    let whole = call.def.namespaced && call.namespace().is_none();
    if call.def.kind == "Namespace" || whole {
        return Err(ApiError::method_not_allowed());
    }
    let (store, key) = (&call.api.store, call.key());
    let (stored, revision) = store.list(&key, call.namespace());
    let mut gone: Vec<Arc<Value>> = Vec::new();
    let mut warnings = Vec::new();
    for obj in read::select(call, &params, stored) {
        warnings.extend(reviewed(call, &obj, &given, &options).await?);
        let metadata = &obj["metadata"];
        let name = metadata["name"].as_str().unwrap_or_default();
        match store.delete(&key, metadata["namespace"].as_str(), name, &options) {
            Ok(Deleted::Removed(obj) | Deleted::Terminating(obj)) => {
                gone.push(convert::shown(&call.def, call.version(), &obj));
            }
            Err(error) if error.code == 404 => {}
            Err(error) => return Err(error),
        }
    }
    let list = json!({"kind": call.def.list_kind, "apiVersion": call.api_version(),
        "metadata": {"resourceVersion": revision.to_string()}, "items": gone});
    Ok(Reply::ok(&list).warn(warnings))
}

/// Options from the body, if there is one, and else from the query; read, and as they were given.
fn options(call: &Call) -> Result<(DeleteOptions, Value), ApiError> {
    let given = if call.body.is_empty() {
        from_query(&call.query)?
    } else {
        let given = body::parse(&call.body, &call.content_type)?;
        if given["kind"].as_str().is_some_and(|k| k != "DeleteOptions") {
            return Err(ApiError::bad_request(
                "the body of a delete must be DeleteOptions",
            ));
        }
        given
    };
    Ok((read_options(&given)?, given))
}

fn from_query(query: &Query) -> Result<Value, ApiError> {
    let mut given = json!({});
    if let Some(policy) = query.text("propagationPolicy") {
        given["propagationPolicy"] = json!(policy);
    }
    if let Some(seconds) = query.number("gracePeriodSeconds")? {
        given["gracePeriodSeconds"] = json!(seconds);
    }
    if query.flag("orphanDependents") {
        given["orphanDependents"] = json!(true);
    }
    if let Some(dry_run) = query.text("dryRun") {
        given["dryRun"] = json!([dry_run]);
    }
    Ok(given)
}

/// Reads `DeleteOptions`.
pub(super) fn read_options(given: &Value) -> Result<DeleteOptions, ApiError> {
    let refused = |cause| ApiError::invalid("meta.k8s.io", "DeleteOptions", "", vec![cause]);
    let propagation = match given["propagationPolicy"].as_str() {
        None if given["orphanDependents"] == true => Some(Propagation::Orphan),
        None => None,
        Some("Background") => Some(Propagation::Background),
        Some("Foreground") => Some(Propagation::Foreground),
        Some("Orphan") => Some(Propagation::Orphan),
        Some(other) => {
            let allowed = &["Background", "Foreground", "Orphan"];
            return Err(refused(Cause::unsupported(
                "propagationPolicy",
                &json!(other),
                allowed,
            )));
        }
    };
    let dry_run = match given["dryRun"].as_array().map(Vec::as_slice) {
        None | Some([]) => false,
        Some(all) if all.iter().all(|d| d == "All") => true,
        Some(other) => {
            let wrong = other.iter().find(|d| *d != "All").unwrap_or(&Value::Null);
            return Err(refused(Cause::unsupported("dryRun", wrong, &["All"])));
        }
    };
    let grace = &given["gracePeriodSeconds"];
    if grace.as_i64().is_some_and(|g| g < 0) {
        let detail = "must be greater than or equal to 0";
        return Err(refused(Cause::invalid("gracePeriodSeconds", grace, detail)));
    }
    let text = |value: &Value| value.as_str().filter(|t| !t.is_empty()).map(str::to_owned);
    Ok(DeleteOptions {
        uid: text(&given["preconditions"]["uid"]),
        resource_version: text(&given["preconditions"]["resourceVersion"]),
        propagation,
        grace_period_seconds: grace.as_u64(),
        dry_run,
    })
}
