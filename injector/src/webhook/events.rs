//! Tells users what became of their pods, as Events of the workload they look at.

use super::review::Outcome;
use crate::{decide::SkipReason, owner::Workload};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use mesh_contract::names;
use std::{sync::Arc, time::Duration};
use tokio::sync::Semaphore;

/// Events are a courtesy: beyond so many at a time they are dropped.
const AT_ONCE: usize = 32;
const TIMEOUT: Duration = Duration::from_secs(5);

/// Writes Events in the background. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Events {
    recorder: Recorder,
    slots: Arc<Semaphore>,
}

impl Events {
    pub(super) fn new(client: Client, pod_name: &str) -> Self {
        let reporter = Reporter {
            controller: names::INJECTOR.to_owned(),
            instance: Some(pod_name.to_owned()),
        };
        Self {
            recorder: Recorder::new(client, reporter),
            slots: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// Tells about a pod of `workload`; of a pod of its own there is no object yet to tell about.
    pub(super) fn tell(&self, namespace: &str, workload: Option<Workload>, outcome: Outcome) {
        let (Some(workload), Some(event)) = (workload, event(&outcome)) else {
            return;
        };
        let Ok(slot) = self.slots.clone().try_acquire_owned() else {
            return;
        };
        let about = ObjectReference {
            api_version: Some(workload.api_version),
            kind: Some(workload.kind),
            name: Some(workload.name),
            namespace: Some(namespace.to_owned()),
            uid: Some(workload.uid).filter(|uid| !uid.is_empty()),
            ..ObjectReference::default()
        };
        let recorder = self.recorder.clone();
        tokio::spawn(async move {
            let publishing = recorder.publish(&event, &about);
            if let Ok(Err(error)) = tokio::time::timeout(TIMEOUT, publishing).await {
                tracing::debug!(%error, "cannot write an Event");
            }
            drop(slot);
        });
    }
}

fn event(outcome: &Outcome) -> Option<Event> {
    let (type_, reason, note) = match outcome {
        Outcome::Injected => (
            EventType::Normal,
            "Injected",
            "Linkerd sidecar proxy injected".to_owned(),
        ),
        // Nobody asked: nobody need hear.
        Outcome::Skipped(SkipReason::NotRequested | SkipReason::AlreadyInjected) => return None,
        Outcome::Skipped(reason) => (
            EventType::Normal,
            "InjectionSkipped",
            format!("Linkerd sidecar proxy injection skipped: {reason}"),
        ),
        Outcome::Refused(message) => (EventType::Warning, "InjectionFailed", message.clone()),
    };
    Some(Event {
        type_,
        reason: reason.to_owned(),
        note: Some(note.chars().take(1000).collect()),
        action: "Inject".to_owned(),
        secondary: None,
    })
}
