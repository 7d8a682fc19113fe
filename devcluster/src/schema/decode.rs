//! From JSON to an object of a kind: are the types right, and which fields are unknown?
//!
//! The types of `k8s-openapi` are the authority for built-in kinds: what does not survive a round
//! trip through them is unknown, and dropped; so is what Go types do not tell from nothing. Custom
//! resources go by their schema (`custom`).

use super::FieldValidation;
use crate::apiserver::protobuf::leave_out_zeros;
use crate::apiserver::resources::ResourceDef;
use crate::status::ApiError;
use k8s_openapi::api::{
    admissionregistration::v1 as admission, apps::v1 as apps, authentication::v1 as authn,
    authorization::v1 as authz, coordination::v1 as coordination, core::v1 as core,
    discovery::v1 as discovery, events::v1 as events, policy::v1 as policy, rbac::v1 as rbac,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as apiextensions;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// Reads an object of a built-in kind; `Ok(None)` when the kind is not built in.
///
/// Returns the unknown fields, which are gone from `obj` afterwards.
pub(super) fn builtin(
    def: &ResourceDef,
    version: &str,
    obj: &mut Value,
) -> Option<Result<Vec<String>, ApiError>> {
    let read: fn(&Value) -> Result<Value, String> = match (def.group.as_str(), def.kind.as_str()) {
        ("", "ConfigMap") => through::<core::ConfigMap>,
        ("", "Event") => through::<core::Event>,
        ("", "Namespace") => through::<core::Namespace>,
        ("", "Node") => through::<core::Node>,
        ("", "Pod") => through::<core::Pod>,
        ("", "Secret") => through::<core::Secret>,
        ("", "Service") => through::<core::Service>,
        ("", "ServiceAccount") => through::<core::ServiceAccount>,
        ("apps", "Deployment") => through::<apps::Deployment>,
        ("apps", "ReplicaSet") => through::<apps::ReplicaSet>,
        ("apps", "StatefulSet") => through::<apps::StatefulSet>,
        ("admissionregistration.k8s.io", "MutatingWebhookConfiguration") => {
            through::<admission::MutatingWebhookConfiguration>
        }
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration") => {
            through::<admission::ValidatingWebhookConfiguration>
        }
        ("policy", "PodDisruptionBudget") => through::<policy::PodDisruptionBudget>,
        ("discovery.k8s.io", "EndpointSlice") => through::<discovery::EndpointSlice>,
        ("coordination.k8s.io", "Lease") => through::<coordination::Lease>,
        ("events.k8s.io", "Event") => through::<events::Event>,
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            through::<apiextensions::CustomResourceDefinition>
        }
        ("rbac.authorization.k8s.io", "Role") => through::<rbac::Role>,
        ("rbac.authorization.k8s.io", "RoleBinding") => through::<rbac::RoleBinding>,
        ("rbac.authorization.k8s.io", "ClusterRole") => through::<rbac::ClusterRole>,
        ("rbac.authorization.k8s.io", "ClusterRoleBinding") => through::<rbac::ClusterRoleBinding>,
        ("authentication.k8s.io", "TokenReview") => through::<authn::TokenReview>,
        ("authentication.k8s.io", "SelfSubjectReview") => through::<authn::SelfSubjectReview>,
        ("authorization.k8s.io", "SubjectAccessReview") => through::<authz::SubjectAccessReview>,
        ("authorization.k8s.io", "SelfSubjectAccessReview") => {
            through::<authz::SelfSubjectAccessReview>
        }
        ("authorization.k8s.io", "SelfSubjectRulesReview") => {
            through::<authz::SelfSubjectRulesReview>
        }
        ("authorization.k8s.io", "LocalSubjectAccessReview") => {
            through::<authz::LocalSubjectAccessReview>
        }
        _ => return None,
    };
    Some(reconcile(read, def, version, obj))
}

/// Drops what the types of a built-in kind do not tell from nothing.
pub(super) fn zeros(def: &ResourceDef, version: &str, obj: &mut Value) {
    leave_out_zeros(&def.api_version(version), &def.kind, obj);
}

/// Checks and prunes `metadata` of a custom resource.
pub(super) fn metadata(
    def: &ResourceDef,
    version: &str,
    obj: &mut Value,
) -> Result<Vec<String>, ApiError> {
    let mut unknown = Vec::new();
    if let Some(metadata) = obj.get_mut("metadata") {
        let known = through::<ObjectMeta>(metadata)
            .map_err(|fault| refusal(def, version, &format!("metadata.{fault}")))?;
        prune(metadata, &known, "metadata", &mut unknown);
    }
    Ok(unknown)
}

fn reconcile(
    read: fn(&Value) -> Result<Value, String>,
    def: &ResourceDef,
    version: &str,
    obj: &mut Value,
) -> Result<Vec<String>, ApiError> {
    let known = read(obj).map_err(|fault| refusal(def, version, &fault))?;
    let mut unknown = Vec::new();
    prune(obj, &known, "", &mut unknown);
    Ok(unknown)
}

/// Reads a value as a `T` and writes it again. The error starts with the path of the wrong field.
fn through<T: Serialize + DeserializeOwned>(value: &Value) -> Result<Value, String> {
    let typed: T = serde_path_to_error::deserialize(value).map_err(|e| {
        let path = e.path().to_string();
        let detail = e.into_inner();
        if path == "." {
            detail.to_string()
        } else {
            format!("{path}: {detail}")
        }
    })?;
    serde_json::to_value(typed).map_err(|e| e.to_string())
}

fn refusal(def: &ResourceDef, version: &str, fault: &str) -> ApiError {
    let kind = &def.kind;
    ApiError::bad_request(format!(
        "{kind} in version {version:?} cannot be handled as a {kind}: {fault}"
    ))
}

/// Drops from `value` what `known` does not have. `null` says nothing and goes silently; numbers
/// that are written as text (quantities) become text.
fn prune(value: &mut Value, known: &Value, path: &str, unknown: &mut Vec<String>) {
    match (value, known) {
        (Value::Object(map), Value::Object(known)) => map.retain(|key, inner| {
            if inner.is_null() {
                return false;
            }
            let here = if path.is_empty() {
                key.clone()
            } else {
                format!("{path}.{key}")
            };
            match known.get(key) {
                Some(k) => {
                    prune(inner, k, &here, unknown);
                    true
                }
                None => {
                    unknown.push(here);
                    false
                }
            }
        }),
        (Value::Array(list), Value::Array(known)) => {
            for (i, (inner, k)) in list.iter_mut().zip(known).enumerate() {
                prune(inner, k, &format!("{path}[{i}]"), unknown);
            }
        }
        (value @ Value::Number(_), Value::String(text)) => *value = Value::String(text.clone()),
        _ => {}
    }
}

/// What becomes of unknown fields: warnings, or a refusal.
pub(super) fn judge(
    unknown: Vec<String>,
    mode: FieldValidation,
    def: &ResourceDef,
    version: &str,
) -> Result<Vec<String>, ApiError> {
    let texts: Vec<String> = unknown
        .iter()
        .map(|f| format!("unknown field {f:?}"))
        .collect();
    match mode {
        FieldValidation::Ignore => Ok(Vec::new()),
        FieldValidation::Warn => Ok(texts),
        FieldValidation::Strict if texts.is_empty() => Ok(texts),
        FieldValidation::Strict => {
            let fault = format!("strict decoding error: {}", texts.join(", "));
            Err(refusal(def, version, &fault))
        }
    }
}
