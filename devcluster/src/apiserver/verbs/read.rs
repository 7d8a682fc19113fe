//! `get` and `list`.

use super::super::convert;
use super::super::reply::{Form, Reply};
use super::super::request::ListParams;
use super::super::tables::{self, IncludeObject};
use super::Call;
use crate::status::ApiError;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) fn get(call: &Call) -> Result<Reply, ApiError> {
    call.show(StatusCode::OK, &call.object()?)
}

/// Where a limited list goes on.
#[derive(Serialize, Deserialize)]
struct Continue {
    /// The revision the whole list is the state of.
    rv: u64,
    /// The last namespace and name that were handed out.
    after: (String, String),
}

impl Continue {
    fn write(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    fn read(token: &str) -> Result<Self, ApiError> {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok();
        bytes
            .and_then(|b| serde_json::from_slice(&b).ok())
            .ok_or_else(|| ApiError::bad_request("continue key is not valid"))
    }
}

#[derive(Serialize)]
struct List<'a> {
    kind: &'a str,
    #[serde(rename = "apiVersion")]
    api_version: &'a str,
    metadata: &'a Value,
    items: &'a [Arc<Value>],
}

pub(super) fn list(call: &Call) -> Result<Reply, ApiError> {
    let params = ListParams::read(&call.query)?;
    params.fields.check(&call.def)?;
    let (stored, revision, after) = snapshot(call, &params)?;
    let mut items = select(call, &params, stored);
    if let Some(after) = after {
        items.retain(|obj| place(obj) > after);
    }
    let mut metadata = json!({"resourceVersion": revision.to_string()});
    if params.limit > 0 && items.len() > params.limit {
        let left = items.len() - params.limit;
        items.truncate(params.limit);
        let after = items.last().map(|obj| place(obj)).unwrap_or_default();
        metadata["continue"] = json!(
            Continue {
                rv: revision,
                after
            }
            .write()
        );
        if params.labels.is_empty() && params.fields.is_empty() {
            metadata["remainingItemCount"] = json!(left);
        }
    }
    let items: Vec<Arc<Value>> = items
        .iter()
        .map(|obj| convert::shown(&call.def, call.version(), obj))
        .collect();
    show(call, &items, &metadata)
}

fn place(obj: &Value) -> (String, String) {
    let text = |key: &str| obj["metadata"][key].as_str().unwrap_or_default().to_owned();
    (text("namespace"), text("name"))
}

type Snapshot = (Vec<Arc<Value>>, u64, Option<(String, String)>);

/// The objects to choose from, the revision they are the state of, and after which of them the
/// list goes on.
fn snapshot(call: &Call, params: &ListParams) -> Result<Snapshot, ApiError> {
    let (store, key) = (&call.api.store, call.key());
    if let Some(token) = &params.continue_from {
        let token = Continue::read(token)?;
        let stored = store
            .list_at(&key, call.namespace(), token.rv)
            .ok_or_else(|| {
                ApiError::new(
                    410,
                    "Expired",
                    "The provided continue parameter is too old to display a consistent list \
                 result. You can start a new list without the continue parameter.",
                )
            })?;
        return Ok((stored, token.rv, Some(token.after)));
    }
    let current = store.revision();
    match params.resource_version {
        Some(wanted) if wanted > current => Err(too_large(wanted, current)),
        Some(wanted) if params.exact => {
            let stored = store.list_at(&key, call.namespace(), wanted);
            let stored = stored.ok_or_else(|| ApiError::expired(wanted, current))?;
            Ok((stored, wanted, None))
        }
        _ => {
            let (stored, revision) = store.list(&key, call.namespace());
            Ok((stored, revision, None))
        }
    }
}

/// The client asks for a state that is yet to come (perhaps of a server that lost its state).
fn too_large(wanted: u64, current: u64) -> ApiError {
    let message = format!("Too large resource version: {wanted}, current: {current}");
    let mut error = ApiError::new(504, "Timeout", message);
    let cause = crate::status::Cause {
        reason: "ResourceVersionTooLarge",
        message: "Too large resource version".into(),
        field: String::new(),
    };
    let details = error.details.get_or_insert_default();
    details.causes = vec![cause];
    details.retry_after_seconds = Some(1);
    error
}

pub(super) fn select(
    call: &Call,
    params: &ListParams,
    mut stored: Vec<Arc<Value>>,
) -> Vec<Arc<Value>> {
    stored
        .retain(|obj| named(call, obj) && params.labels.matches(obj) && params.fields.matches(obj));
    stored
}

/// Whether an object is the one of the path, where the path names one.
pub(super) fn named(call: &Call, obj: &Value) -> bool {
    call.path
        .name
        .as_ref()
        .is_none_or(|name| obj["metadata"]["name"] == **name)
}

fn nameless(item: &Value) -> Value {
    let fields = item.as_object().into_iter().flatten();
    let fields = fields.filter(|(key, _)| !matches!(key.as_str(), "kind" | "apiVersion"));
    Value::Object(fields.map(|(k, v)| (k.clone(), v.clone())).collect())
}

fn show(call: &Call, items: &[Arc<Value>], metadata: &Value) -> Result<Reply, ApiError> {
    Ok(match call.form {
        Form::Object => {
            let bare: Vec<Arc<Value>>;
            // The list says what its items are; those of custom kinds say so themselves as well.
            let items = if call.def.custom {
                items
            } else {
                bare = items.iter().map(|item| Arc::new(nameless(item))).collect();
                &bare
            };
            let api_version = call.api_version();
            let kind = call.def.list_kind.as_str();
            Reply::ok(&List {
                kind,
                api_version: &api_version,
                metadata,
                items,
            })
        }
        Form::Metadata => {
            let items: Vec<Value> = items.iter().map(|obj| tables::metadata_only(obj)).collect();
            Reply::ok(&json!({"kind": "PartialObjectMetadataList",
                "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "items": items}))
        }
        Form::Table => {
            let include = IncludeObject::read(call.query.text("includeObject"))?;
            let version = call.version();
            Reply::ok(&tables::table(
                &call.def, version, items, metadata, include, true,
            ))
        }
    })
}
