//! Tells the API about one pod: the newest status, and in the end the deletion. Level-triggered:
//! only the latest word matters, and it is repeated until it is heard.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::watch;

const FIRST_RETRY: Duration = Duration::from_millis(200);
const MAX_RETRY: Duration = Duration::from_secs(5);
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// What is to be told.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Word {
    pub(super) status: PodStatus,
    /// Nothing is left alive: after the status, the object goes.
    pub(super) finish: bool,
}

/// Which pod.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
}

/// Follows `words` until their sender is dropped.
pub(super) async fn publish(
    client: Client,
    subject: Arc<Subject>,
    mut words: watch::Receiver<Option<Word>>,
) {
    let api: Api<Pod> = Api::namespaced(client, &subject.namespace);
    let mut told: Option<Value> = None;
    let mut retry = FIRST_RETRY;
    loop {
        let word = words.borrow_and_update().clone();
        let result = match &word {
            Some(word) => tell(&api, &subject, word, &mut told).await,
            None => Ok(()),
        };
        let again = async {
            match &result {
                Ok(()) => std::future::pending().await,
                Err(_) => tokio::time::sleep(retry).await,
            }
        };
        if let Err(error) = &result {
            tracing::warn!(pod = subject.name, ns = subject.namespace, %error, "cannot report a pod, will retry");
        }
        tokio::select! {
            () = again => retry = (retry * 2).min(MAX_RETRY),
            changed = words.changed() => match changed {
                Ok(()) => retry = FIRST_RETRY,
                Err(_) => return,
            },
        }
    }
}

async fn tell(
    api: &Api<Pod>,
    subject: &Subject,
    word: &Word,
    told: &mut Option<Value>,
) -> Result<(), String> {
    let status = merge(told.as_ref(), &word.status);
    if let Some((patch, full)) = status {
        let body = json!({"metadata": {"uid": subject.uid}, "status": patch});
        let (params, patch) = (PatchParams::default(), Patch::Merge(body));
        let call = api.patch_status(&subject.name, &params, &patch);
        heard(tokio::time::timeout(CALL_TIMEOUT, call).await)?;
        *told = Some(full);
    }
    if word.finish {
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions {
                uid: Some(subject.uid.clone()),
                resource_version: None,
            }),
            ..Default::default()
        };
        let call = api.delete(&subject.name, &params);
        heard(tokio::time::timeout(CALL_TIMEOUT, call).await)?;
    }
    Ok(())
}

/// The merge patch that leads to `status`, fields that went away as nulls; `None` if it was told.
fn merge(told: Option<&Value>, status: &PodStatus) -> Option<(Value, Value)> {
    let full = serde_json::to_value(status).unwrap_or_default();
    if told == Some(&full) {
        return None;
    }
    let mut patch = full.clone();
    if let (Some(Value::Object(old)), Value::Object(new)) = (told, &mut patch) {
        for key in old.keys() {
            new.entry(key.clone()).or_insert(Value::Null);
        }
    }
    Some((patch, full))
}

/// A pod that is gone, or another one of the same name, needs no word any more.
fn heard<T>(result: Result<kube::Result<T>, tokio::time::error::Elapsed>) -> Result<(), String> {
    match result {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409 | 422) => {
            if status.code == 422 {
                tracing::warn!(message = status.message, "the API refuses a pod's status");
            } else {
                tracing::debug!(
                    code = status.code,
                    message = status.message,
                    "the API knows better"
                );
            }
            Ok(())
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the API server did not answer in time".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_said_once_and_what_went_away_is_taken_back() {
        let mut status = PodStatus {
            phase: Some("Pending".into()),
            ..Default::default()
        };
        status.message = Some("m".into());
        let (_, told) = merge(None, &status).unwrap();
        assert!(merge(Some(&told), &status).is_none());
        status.message = None;
        let (patch, _) = merge(Some(&told), &status).unwrap();
        assert_eq!(patch, json!({"phase": "Pending", "message": null}));
    }
}
