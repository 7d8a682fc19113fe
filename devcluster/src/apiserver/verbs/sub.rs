//! Subresources: `status` and `scale` of many kinds, and the few that single kinds have.

use super::super::admission::{Operation, Subject};
use super::super::reply::Reply;
use super::super::request::WriteParams;
use super::super::resources::api_version;
use super::update::{Change, write_at_once};
use super::{Call, body, connect, evict, log, patch, read, scale, update};
use crate::status::ApiError;
use crate::store::now;
use http::{Method, StatusCode};
use serde_json::{Value, json};

pub(super) async fn handle(
    method: &Method,
    call: Call,
    subresource: &str,
) -> Result<Reply, ApiError> {
    if !served(&call, subresource) {
        return Err(ApiError::no_such_path());
    }
    match subresource {
        "status" | "finalize" => match *method {
            Method::GET => read::get(&call),
            Method::PUT => update::update(&call, Some(subresource)).await,
            Method::PATCH if subresource == "status" => {
                patch::patch(&call, Some(subresource)).await
            }
            _ => Err(ApiError::method_not_allowed()),
        },
        "scale" => scale::handle(method, &call).await,
        "log" if method == Method::GET => log::log(&call).await,
        "exec" if connects(method) => connect::exec(call).await,
        "portforward" if connects(method) => connect::port_forward(call).await,
        "token" if method == Method::POST => token(&call).await,
        "binding" if method == Method::POST => bind(&call).await,
        "eviction" if method == Method::POST => evict::evict(&call).await,
        _ => Err(ApiError::method_not_allowed()),
    }
}

/// Clients of one protocol ask with GET, those of another with POST.
fn connects(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::POST)
}

fn served(call: &Call, subresource: &str) -> bool {
    let version = call.def.version(call.version());
    match subresource {
        "status" => version.is_some_and(|v| v.status_subresource),
        "scale" => version.is_some_and(|v| v.scale.is_some()),
        other => call.def.subresources.iter().any(|s| s == other),
    }
}

/// The body of a subresource that takes an object of its own kind.
pub(super) fn given(call: &Call, kind: &str) -> Result<Value, ApiError> {
    let given = body::parse(&call.body, &call.content_type)?;
    match given["kind"].as_str() {
        None | Some("") => Ok(given),
        Some(found) if found == kind => Ok(given),
        Some(found) => Err(ApiError::bad_request(format!(
            "{found} cannot be handled as a {kind}: this path takes a {kind}"
        ))),
    }
}

/// Shows webhooks what is asked of a subresource; what came of it, and warnings.
pub(super) async fn reviewed(
    call: &Call,
    (group, version, kind): (&'static str, &'static str, &'static str),
    params: &WriteParams,
    mut object: Value,
) -> Result<(Value, Vec<String>), ApiError> {
    let options = call.write_options("CreateOptions", params);
    object["kind"] = json!(kind);
    object["apiVersion"] = json!(api_version(group, version));
    object["metadata"]["name"] = json!(call.name());
    object["metadata"]["namespace"] = json!(call.namespace());
    let shows = Some((group, version, kind));
    let gate = call.gate_of(shows, Operation::Create, None, options, params.dry_run);
    let subject = Subject {
        object: Some(object),
        old: None,
    };
    let (object, warnings) = gate.review(subject).await?;
    Ok((object.unwrap_or_default(), warnings))
}

async fn token(call: &Call) -> Result<Reply, ApiError> {
    let request = given(call, "TokenRequest")?;
    let kind = ("authentication.k8s.io", "v1", "TokenRequest");
    let params = WriteParams::read(&call.query, "CreateOptions")?;
    let (request, warnings) = reviewed(call, kind, &params, request).await?;
    let namespace = call.namespace().unwrap_or_default();
    let answer = call
        .api
        .auth
        .token_request(namespace, call.name(), request)?;
    Ok(Reply::json(StatusCode::CREATED, &answer).warn(warnings))
}

pub(super) fn success(code: StatusCode) -> Reply {
    let value = json!({"kind": "Status", "apiVersion": "v1", "metadata": {},
        "status": "Success", "code": code.as_u16()});
    Reply::json(code, &value)
}

/// Binds a pod to a node, once.
async fn bind(call: &Call) -> Result<Reply, ApiError> {
    let binding = given(call, "Binding")?;
    let params = WriteParams::read(&call.query, "CreateOptions")?;
    let (binding, warnings) = reviewed(call, ("", "v1", "Binding"), &params, binding).await?;
    let node = binding["target"]["name"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    if node.is_empty() {
        return Err(ApiError::bad_request(
            "target.name: the node to bind to is missing",
        ));
    }
    let (group, plural) = (&call.def.group, "pods/binding");
    write_at_once(call, &params, Some("binding"), |pod| {
        let refused = |detail: &str| {
            Err(ApiError::conflict_because(
                group,
                plural,
                call.name(),
                detail,
            ))
        };
        if !pod["metadata"]["deletionTimestamp"].is_null() {
            return refused(&format!(
                "pod {} is being deleted, cannot be assigned to a host",
                call.name()
            ));
        }
        if let Some(bound) = pod["spec"]["nodeName"].as_str().filter(|n| !n.is_empty()) {
            return refused(&format!(
                "pod {} is already assigned to node {bound:?}",
                call.name()
            ));
        }
        let mut new = pod.clone();
        new["spec"]["nodeName"] = json!(node);
        let mut conditions = new["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        conditions.retain(|c| c["type"] != "PodScheduled");
        conditions.push(json!({"type": "PodScheduled", "status": "True",
            "lastProbeTime": null, "lastTransitionTime": now()}));
        new["status"]["conditions"] = Value::Array(conditions);
        Ok(Change {
            new,
            recorded: false,
        })
    })?;
    Ok(success(StatusCode::CREATED).warn(warnings))
}
