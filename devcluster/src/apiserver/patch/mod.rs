//! What a patch makes of an object: JSON patch, merge patch, strategic merge. (Server-side apply
//! is in `fields`.) Pure functions; the verb around them is `verbs::patch`.

mod strategic;

#[cfg(test)]
mod tests;

use super::fields::shape::Shape;
use crate::status::ApiError;
use json_patch::PatchOperation;
use serde_json::Value;

/// Operations a JSON patch may have, as in kube-apiserver.
const MAX_OPERATIONS: usize = 10_000;
/// Bytes `copy` operations of one patch may copy: copying grows an object exponentially.
const MAX_COPIED: usize = 3 << 20;

/// How a patch is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PatchKind {
    Json,
    Merge,
    Strategic,
    Apply,
}

impl PatchKind {
    /// By content type; custom resources have no strategic merge.
    pub(super) fn of(content_type: &str, custom: bool) -> Result<Self, ApiError> {
        let media = content_type.split(';').next().unwrap_or_default().trim();
        match media {
            "application/json-patch+json" => Ok(Self::Json),
            "application/merge-patch+json" => Ok(Self::Merge),
            "application/strategic-merge-patch+json" if !custom => Ok(Self::Strategic),
            "application/apply-patch+yaml" => Ok(Self::Apply),
            _ if custom => Err(ApiError::unsupported_media_type(
                "application/json-patch+json, application/merge-patch+json, \
                 application/apply-patch+yaml",
            )),
            _ => Err(ApiError::unsupported_media_type(
                "application/json-patch+json, application/merge-patch+json, \
                 application/strategic-merge-patch+json, application/apply-patch+yaml",
            )),
        }
    }
}

/// Applies a patch that is not an apply.
pub(super) fn apply(
    kind: PatchKind,
    obj: &Value,
    body: &[u8],
    shape: &Shape<'_>,
) -> Result<Value, ApiError> {
    let mut out = obj.clone();
    match kind {
        PatchKind::Json => json_patch(&mut out, body)?,
        PatchKind::Merge => {
            let patch = object(body)?;
            json_patch::merge(&mut out, &patch);
        }
        PatchKind::Strategic => {
            let patch = object(body)?;
            strategic::merge(&mut out, &patch, shape)?;
        }
        PatchKind::Apply => return Err(ApiError::internal("an apply is not merged here")),
    }
    if !out.is_object() || !out["metadata"].is_object() {
        let message = "the patch leaves no object with metadata";
        return Err(ApiError::unprocessable(message));
    }
    Ok(out)
}

fn object(body: &[u8]) -> Result<Value, ApiError> {
    let patch: Value = serde_json::from_slice(body)
        .map_err(|e| ApiError::bad_request(format!("error decoding patch: {e}")))?;
    if !patch.is_object() {
        return Err(ApiError::bad_request(
            "error decoding patch: it is not an object",
        ));
    }
    Ok(patch)
}

fn json_patch(obj: &mut Value, body: &[u8]) -> Result<(), ApiError> {
    let operations: Vec<PatchOperation> = serde_json::from_slice(body)
        .map_err(|e| ApiError::bad_request(format!("error decoding patch: {e}")))?;
    if operations.len() > MAX_OPERATIONS {
        let message = format!(
            "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
            operations.len()
        );
        return Err(ApiError::new(413, "RequestEntityTooLarge", message));
    }
    let mut copied = 0;
    for operation in operations {
        if let PatchOperation::Copy(copy) = &operation {
            let source = obj
                .pointer(copy.from.as_str())
                .map_or(0, |v| v.to_string().len());
            copied += source;
            if copied > MAX_COPIED {
                return Err(ApiError::too_large(MAX_COPIED));
            }
        }
        json_patch::patch(obj, std::slice::from_ref(&operation)).map_err(|e| {
            ApiError::unprocessable(format!(
                "the server rejected our request due to an error in our request: {e} \
                 (operation {operation})"
            ))
        })?;
    }
    Ok(())
}
