//! What is said: the AdmissionReview a webhook is sent, and what its answer means. Pure.

use super::Ask;
use super::rules::Hook;
use crate::schema::json::{at, items, text};
use crate::status::ApiError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

const API_VERSIONS: [(&str, &str); 2] = [
    ("v1", "admission.k8s.io/v1"),
    ("v1beta1", "admission.k8s.io/v1beta1"),
];
/// HTTP's first code that refuses something.
const FIRST_REFUSAL: u64 = 400;

/// What a webhook answered.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Answer {
    pub(super) allowed: bool,
    /// A Status, where it said more.
    pub(super) result: Value,
    /// A JSON patch, not read yet.
    pub(super) patch: Vec<u8>,
    /// What it says its patch is.
    pub(super) patch_type: String,
    pub(super) warnings: Vec<String>,
}

/// The version of AdmissionReview a webhook is sent: the first it takes that we know.
pub(super) fn api_version(hook: &Hook) -> Result<&'static str, String> {
    let takes = items(hook.said(), &["admissionReviewVersions"]).iter();
    takes
        .filter_map(Value::as_str)
        .find_map(|taken| API_VERSIONS.iter().find(|(known, _)| *known == taken))
        .map(|(_, api_version)| *api_version)
        .ok_or_else(|| {
            "could not create admission objects: webhook does not accept known AdmissionReview \
             versions (v1, v1beta1)"
                .to_owned()
        })
}

/// The question.
pub(super) fn question(
    ask: &Ask,
    version: &str,
    uid: &str,
    (object, old): (Option<&Value>, Option<&Value>),
) -> Value {
    let def = &ask.def;
    let kind = |version: &str| match ask.shows {
        Some((group, version, kind)) => json!({"group": group, "version": version, "kind": kind}),
        None => json!({"group": def.group, "version": version, "kind": def.kind}),
    };
    let resource =
        |version: &str| json!({"group": def.group, "version": version, "resource": def.plural});
    let mut request = json!({
        "uid": uid,
        "kind": kind(version), "resource": resource(version),
        "requestKind": kind(&ask.version), "requestResource": resource(&ask.version),
        "operation": ask.operation.name(),
        "userInfo": ask.user.to_value(),
        "object": object, "oldObject": old,
        "dryRun": ask.dry_run, "options": ask.options,
    });
    for (field, text) in [
        ("subResource", &ask.subresource),
        ("requestSubResource", &ask.subresource),
        ("name", &ask.name),
        ("namespace", &ask.namespace),
    ] {
        if !text.is_empty() {
            request[field] = json!(text);
        }
    }
    request
}

/// Reads an answer; the error says what is wrong with it.
pub(super) fn answer(
    review: &Value,
    api_version: &str,
    uid: &str,
    mutating: bool,
) -> Result<Answer, String> {
    let response = at(review, &["response"]);
    if !response.is_object() {
        return Err("webhook response was absent".to_owned());
    }
    let told = text(response, &["uid"]);
    // The old version never said which question it answers.
    let strict = api_version == "admission.k8s.io/v1";
    if strict && told != uid {
        return Err(format!("expected response.uid={uid:?}, got {told:?}"));
    }
    let (group_version, kind) = (text(review, &["apiVersion"]), text(review, &["kind"]));
    if strict && (group_version != api_version || kind != "AdmissionReview") {
        let got = match group_version {
            "" => "/",
            other => other,
        };
        return Err(format!(
            "expected webhook response of {api_version}, Kind=AdmissionReview, got {got}, \
             Kind={kind}"
        ));
    }
    let patch = text(response, &["patch"]);
    let kind_of_patch = at(response, &["patchType"]);
    match (mutating, patch.is_empty(), kind_of_patch.is_null()) {
        (true, false, true) if strict => {
            return Err("webhook returned response.patch but not response.patchType".to_owned());
        }
        (true, true, false) => {
            return Err("webhook returned response.patchType but not response.patch".to_owned());
        }
        (false, false, _) => {
            return Err("validating webhook may not return response.patch".to_owned());
        }
        (false, true, false) => {
            return Err("validating webhook may not return response.patchType".to_owned());
        }
        _ => {}
    }
    let patch = STANDARD.decode(patch);
    let warnings = items(response, &["warnings"]).iter();
    Ok(Answer {
        allowed: response["allowed"] == true,
        result: at(response, &["status"]).clone(),
        patch: patch.map_err(|e| format!("response.patch is not base64: {e}"))?,
        patch_type: text(kind_of_patch, &[]).to_owned(),
        warnings: warnings
            .filter_map(|w| w.as_str().map(str::to_owned))
            .collect(),
    })
}

/// The refusal of a webhook, as the client is told it.
pub(super) fn refusal(hook: &str, result: &Value) -> ApiError {
    let by = format!("admission webhook {hook:?} denied the request");
    let message = match (text(result, &["message"]), text(result, &["reason"])) {
        ("", "") => format!("{by} without explanation"),
        ("", said) | (said, _) => format!("{by}: {said}"),
    };
    let code = at(result, &["code"]).as_u64().unwrap_or_default();
    let code = u16::try_from(code.max(FIRST_REFUSAL)).unwrap_or(500);
    let mut status = match result {
        Value::Object(_) => result.clone(),
        _ => json!({}),
    };
    let failure = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
        "message": message, "code": code});
    for (key, value) in failure.as_object().into_iter().flatten() {
        status[key] = value.clone();
    }
    if status["metadata"].is_null() {
        status["metadata"] = json!({});
    }
    ApiError::passed_on(code, message, status)
}
