//! In which order webhooks are called, and what it means when one fails.

use super::review::{self, Answer};
use super::rules::Hook;
use super::{Gate, Subject, client};
use crate::schema::json::text;
use crate::schema::{self, FieldValidation};
use crate::status::ApiError;
use crate::store::new_uid;
use futures::future::join_all;
use serde_json::Value;
use std::collections::BTreeSet;

/// Why a call came to nothing.
enum Failure {
    /// The webhook could not be asked; its policy says what that means.
    NotAsked(String),
    /// Its answer, or that the request does not go with it.
    Refused(ApiError),
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::Refused(error)
    }
}

/// Calls those that may change the object, one after the other; those that asked for it a second
/// time if it changed after their turn.
pub(super) async fn mutate(gate: &mut Gate<'_>, subject: &mut Subject<'_>) -> Result<(), ApiError> {
    let mut again = BTreeSet::new();
    let mut reinvocable = BTreeSet::new();
    let hooks = std::mem::take(&mut gate.mutating);
    let mut outcome = Ok(());
    'rounds: for round in 0..2 {
        for (index, hook) in hooks.iter().enumerate() {
            if round == 1 && !again.contains(&index) {
                continue;
            }
            match mutate_by(gate, hook, subject).await {
                Ok(changed) => {
                    if changed {
                        again.append(&mut reinvocable);
                    }
                    if hook.asks_again() {
                        reinvocable.insert(index);
                    }
                }
                Err(error) => {
                    outcome = Err(error);
                    break 'rounds;
                }
            }
        }
        if again.is_empty() {
            break;
        }
    }
    gate.mutating = hooks;
    outcome
}

/// One call; answers whether the object is another.
async fn mutate_by(
    gate: &mut Gate<'_>,
    hook: &Hook,
    subject: &mut Subject<'_>,
) -> Result<bool, ApiError> {
    if !hook.selects(&gate.ask, subject, &gate.api.store)? {
        return Ok(false);
    }
    let called = async {
        let shown = shown(gate, hook, subject);
        let answer = call(gate, hook, (shown.0.as_ref(), shown.1.as_ref()), true).await?;
        let patched = patched(gate, hook, shown.0, &answer)?;
        Ok((answer, patched))
    };
    match called.await {
        Ok((answer, patched)) => {
            gate.warnings.extend(answer.warnings);
            let changed = patched.is_some() && patched != subject.object;
            if changed {
                subject.object = patched;
            }
            Ok(changed)
        }
        Err(failure) => verdict(hook, failure).map(|()| false),
    }
}

/// Calls those that may refuse the object; the first refusal counts.
pub(super) async fn validate(gate: &mut Gate<'_>, subject: &Subject<'_>) -> Result<(), ApiError> {
    let mut wanted = Vec::new();
    for hook in &gate.validating {
        if hook.selects(&gate.ask, subject, &gate.api.store)? {
            wanted.push(hook);
        }
    }
    let this = &*gate;
    let calls = wanted.iter().map(|hook| async move {
        let (object, old) = shown(this, hook, subject);
        call(this, hook, (object.as_ref(), old.as_ref()), false).await
    });
    let answers = join_all(calls).await;
    let mut warnings = Vec::new();
    let mut outcome = Ok(());
    for (hook, answer) in wanted.iter().zip(answers) {
        let judged = match answer {
            Ok(answer) => {
                warnings.extend(answer.warnings);
                Ok(())
            }
            Err(failure) => verdict(hook, failure),
        };
        outcome = outcome.and(judged);
    }
    gate.warnings.extend(warnings);
    outcome
}

/// What becomes of the request when a call came to nothing.
fn verdict(hook: &Hook, failure: Failure) -> Result<(), ApiError> {
    match failure {
        Failure::Refused(error) => Err(error),
        Failure::NotAsked(why) => {
            let message = format!("failed calling webhook {:?}: {why}", hook.name());
            if hook.may_fail() {
                tracing::warn!(%message, "the request goes on without it");
                return Ok(());
            }
            Err(ApiError::internal_because(&message))
        }
    }
}

/// The object in the version the webhook wants, as it is and as it was.
fn shown(gate: &Gate<'_>, hook: &Hook, subject: &Subject<'_>) -> (Option<Value>, Option<Value>) {
    let convert = |obj: &Value| {
        let mut obj = obj.clone();
        if gate.ask.shows.is_none() && hook.version != gate.ask.version {
            schema::convert(&gate.ask.def, &mut obj, &hook.version);
        }
        obj
    };
    (
        subject.object.as_ref().map(convert),
        subject.old.map(convert),
    )
}

async fn call(
    gate: &Gate<'_>,
    hook: &Hook,
    objects: (Option<&Value>, Option<&Value>),
    mutating: bool,
) -> Result<Answer, Failure> {
    let dry = matches!(text(hook.said(), &["sideEffects"]), "None" | "NoneOnDryRun");
    if gate.ask.dry_run && !dry {
        let message = format!(
            "admission webhook {:?} does not support dry run",
            hook.name()
        );
        return Err(ApiError::bad_request(message).into());
    }
    let uid = new_uid();
    let api_version = review::api_version(hook).map_err(Failure::NotAsked)?;
    let request = review::question(&gate.ask, &hook.version, &uid, objects);
    let review = serde_json::json!({"kind": "AdmissionReview", "apiVersion": api_version,
        "request": request});
    let said = client::post(&gate.api.store, hook.said(), &review).await;
    let said = said.map_err(Failure::NotAsked)?;
    let answer = review::answer(&said, api_version, &uid, mutating)
        .map_err(|why| Failure::NotAsked(format!("received invalid webhook response: {why}")))?;
    if answer.allowed {
        return Ok(answer);
    }
    Err(review::refusal(hook.name(), &answer.result).into())
}

/// The object after the webhook's patch, in the version of the request.
fn patched(
    gate: &Gate<'_>,
    hook: &Hook,
    object: Option<Value>,
    answer: &Answer,
) -> Result<Option<Value>, Failure> {
    if answer.patch.is_empty() {
        return Ok(None);
    }
    let patch: json_patch::Patch = serde_json::from_slice(&answer.patch).map_err(|e| {
        Failure::NotAsked(format!(
            "received undecodable patch in webhook response: {e}"
        ))
    })?;
    if patch.is_empty() {
        return Ok(None);
    }
    let Some(mut object) = object else {
        let message = format!(
            "admission webhook {:?} attempted to modify the object, which is not supported for \
             this operation",
            hook.name()
        );
        return Err(ApiError::internal_because(&message).into());
    };
    // The old version of reviews knew no other type.
    if !matches!(answer.patch_type.as_str(), "JSONPatch" | "") {
        let kind = &answer.patch_type;
        return Err(Failure::NotAsked(format!(
            "unsupported patch type {kind:?}"
        )));
    }
    json_patch::patch(&mut object, &patch)
        .map_err(|e| ApiError::internal_because(&e.to_string()))?;
    let (ask, schema) = (&gate.ask, &gate.api.schema);
    if ask.shows.is_none() {
        if hook.version != ask.version {
            schema::convert(&ask.def, &mut object, &ask.version);
        }
        schema.decode(&ask.def, &ask.version, &mut object, FieldValidation::Ignore)?;
        schema.complete(&ask.def, &ask.version, &mut object);
    }
    Ok(Some(object))
}
