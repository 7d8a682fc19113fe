//! AdmissionReview as data, and the answers to it. Pure: reads no cluster and writes nothing.

use crate::{
    decide::{Decision, Owner, Pod, SkipReason, decide, warnings},
    owner::Workload,
    settings::Settings,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use json_patch::{AddOperation, Patch, PatchOperation, jsonptr::PointerBuf};
use mesh_contract::annotations;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The API server cuts longer ones.
const MAX_WARNING: usize = 256;

/// What the API server asks.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Request {
    pub(crate) uid: String,
    pub(crate) kind: Kind,
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) namespace: String,
    #[serde(default)]
    pub(crate) operation: String,
    #[serde(default)]
    pub(crate) object: Value,
    #[serde(default)]
    pub(crate) dry_run: bool,
}

/// Group, version and kind.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Kind {
    #[serde(default)]
    pub(crate) group: String,
    pub(crate) kind: String,
}

#[derive(Deserialize)]
struct Review {
    #[serde(rename = "apiVersion")]
    api_version: String,
    request: Option<Request>,
}

/// What it is answered.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Answer {
    /// Why the object is refused; `None` admits it.
    pub(crate) refusal: Option<String>,
    pub(crate) patch: Option<Patch>,
    pub(crate) warnings: Vec<String>,
}

/// What was decided about a pod, for metrics and Events.
#[derive(Debug, PartialEq)]
pub(crate) enum Outcome {
    Injected,
    Skipped(SkipReason),
    Refused(String),
}

/// Reads a review; the message says what is wrong with it.
pub(crate) fn read(body: &[u8]) -> Result<Request, String> {
    let review: Review = serde_json::from_slice(body)
        .map_err(|error| format!("the body is no AdmissionReview: {error}"))?;
    if review.api_version != "admission.k8s.io/v1" {
        let version = review.api_version;
        return Err(format!(
            "{version} is not understood here, only admission.k8s.io/v1"
        ));
    }
    review
        .request
        .ok_or_else(|| "the AdmissionReview has no request".to_owned())
}

impl Answer {
    /// The object is refused.
    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self {
            refusal: Some(message.into()),
            ..Self::default()
        }
    }

    /// The AdmissionReview to send.
    pub(crate) fn to_json(&self, uid: &str) -> Value {
        let mut response = json!({ "uid": uid, "allowed": self.refusal.is_none() });
        if let Some(message) = &self.refusal {
            response["status"] = json!({
                "status": "Failure", "message": message, "reason": "Invalid", "code": 422,
            });
        }
        if let Some(patch) = &self.patch {
            // A patch is data of our own making: it can be written.
            let patch = serde_json::to_vec(patch).unwrap_or_default();
            response["patchType"] = json!("JSONPatch");
            response["patch"] = json!(STANDARD.encode(patch));
        }
        if !self.warnings.is_empty() {
            let cut = |text: &String| text.chars().take(MAX_WARNING).collect::<String>();
            response["warnings"] = self.warnings.iter().map(cut).collect();
        }
        json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "response": response,
        })
    }
}

/// Decides about a pod.
pub(crate) fn pod(
    settings: &Settings,
    namespace_annotations: &BTreeMap<String, String>,
    workload: Option<&Workload>,
    request: &Request,
) -> (Answer, Outcome) {
    let pod = Pod {
        template: &request.object,
        namespace: Some(&request.namespace),
        namespace_annotations,
        owner: workload.map(|workload| Owner {
            kind: &workload.kind,
            name: &workload.name,
        }),
        requested: false,
    };
    match decide(settings, &pod) {
        Ok(Decision::Inject(patch)) => {
            let answer = Answer {
                patch: Some(patch),
                warnings: warnings(&pod),
                ..Answer::default()
            };
            (answer, Outcome::Injected)
        }
        Ok(Decision::Skip(reason)) => {
            let mut answer = service(namespace_annotations, request);
            if reason.is_refusal() {
                answer
                    .warnings
                    .push(format!("no sidecar was added: {reason}"));
            }
            (answer, Outcome::Skipped(reason))
        }
        Err(error) => {
            let message = format!("the sidecar cannot be added: {error}");
            (Answer::refused(message.clone()), Outcome::Refused(message))
        }
    }
}

/// Writes the namespace's opaque ports on a Service, or on a pod without a sidecar: callers look
/// for them there.
pub(crate) fn service(
    namespace_annotations: &BTreeMap<String, String>,
    request: &Request,
) -> Answer {
    let key = annotations::OPAQUE_PORTS;
    let own = &request.object["metadata"]["annotations"];
    let Some(ports) = namespace_annotations.get(key) else {
        return Answer::default();
    };
    if own.get(key).is_some() {
        return Answer::default();
    }
    let mut operations = Vec::new();
    let mut add = |path: &[&str], value: Value| {
        operations.push(PatchOperation::Add(AddOperation {
            path: PointerBuf::from_tokens(path.iter().copied()),
            value,
        }));
    };
    if !own.is_object() {
        add(&["metadata", "annotations"], json!({}));
    }
    add(&["metadata", "annotations", key], json!(ports));
    Answer {
        patch: Some(Patch(operations)),
        ..Answer::default()
    }
}
