//! Events about pods. Repeats of the same one raise its count; a full queue drops, because an
//! event is never worth delaying a pod for.

use std::collections::{HashMap, VecDeque};

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference, Pod};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::mpsc;

use super::model::now;
use super::status::time;

const QUEUE: usize = 256;
const REMEMBERED: usize = 512;
const COMPONENT: &str = "mesh-node-agent";

/// Whether somebody should worry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Severity {
    Normal,
    Warning,
}

/// Takes events. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Events(mpsc::Sender<Said>);

#[derive(Debug)]
struct Said {
    about: ObjectReference,
    severity: Severity,
    reason: &'static str,
    message: String,
}

impl Events {
    /// The queue, and the task that empties it.
    pub(super) fn new(client: Client, node: String) -> (Self, impl Future<Output = ()>) {
        let (tx, rx) = mpsc::channel(QUEUE);
        (Self(tx), write_all(client, node, rx))
    }

    /// Says something about a pod, or about one of its containers.
    pub(super) fn say(
        &self,
        pod: &Pod,
        container: Option<&str>,
        severity: Severity,
        reason: &'static str,
        message: impl Into<String>,
    ) {
        let about = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: pod.metadata.name.clone(),
            namespace: pod.metadata.namespace.clone(),
            uid: pod.metadata.uid.clone(),
            resource_version: pod.metadata.resource_version.clone(),
            field_path: container.map(|name| format!("spec.containers{{{name}}}")),
        };
        let message = message.into();
        tracing::info!(
            pod = about.name,
            ns = about.namespace,
            reason,
            message,
            "event"
        );
        let said = Said {
            about,
            severity,
            reason,
            message,
        };
        if self.0.try_send(said).is_err() {
            tracing::debug!(reason, "event dropped, the queue is full");
        }
    }
}

/// Name and count of what was said, by (uid, reason, message).
#[derive(Default)]
struct Memory {
    known: HashMap<(String, &'static str, String), (String, i32)>,
    order: VecDeque<(String, &'static str, String)>,
}

impl Memory {
    fn recall(&mut self, said: &Said) -> Option<(String, i32)> {
        let entry = self.known.get_mut(&key(said))?;
        entry.1 = entry.1.saturating_add(1);
        Some(entry.clone())
    }

    fn learn(&mut self, said: &Said, name: String) {
        if self.order.len() >= REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.order.push_back(key(said));
        self.known.insert(key(said), (name, 1));
    }
}

fn key(said: &Said) -> (String, &'static str, String) {
    (
        said.about.uid.clone().unwrap_or_default(),
        said.reason,
        said.message.clone(),
    )
}

async fn write_all(client: Client, node: String, mut queue: mpsc::Receiver<Said>) {
    let mut memory = Memory::default();
    while let Some(said) = queue.recv().await {
        let ns = said
            .about
            .namespace
            .clone()
            .unwrap_or_else(|| "default".to_owned());
        let api: Api<Event> = Api::namespaced(client.clone(), &ns);
        let result = match memory.recall(&said) {
            Some((name, count)) => {
                let patch = json!({"count": count, "lastTimestamp": time(now())});
                api.patch(&name, &PatchParams::default(), &Patch::Merge(patch))
                    .await
                    .map(drop)
            }
            None => {
                let event = event(&said, &ns, &node);
                let name = event.metadata.name.clone().unwrap_or_default();
                memory.learn(&said, name);
                api.create(&PostParams::default(), &event).await.map(drop)
            }
        };
        if let Err(error) = result {
            tracing::debug!(reason = said.reason, %error, "cannot write an event");
        }
    }
}

fn event(said: &Said, ns: &str, node: &str) -> Event {
    let at = now();
    let pod = said.about.name.clone().unwrap_or_default();
    let mut event = Event {
        involved_object: said.about.clone(),
        type_: Some(format!("{:?}", said.severity)),
        reason: Some(said.reason.to_owned()),
        message: Some(said.message.clone()),
        count: Some(1),
        first_timestamp: Some(time(at)),
        last_timestamp: Some(time(at)),
        source: Some(EventSource {
            component: Some(COMPONENT.to_owned()),
            host: Some(node.to_owned()),
        }),
        reporting_component: Some(COMPONENT.to_owned()),
        reporting_instance: Some(node.to_owned()),
        ..Default::default()
    };
    // Unique per pod and saying; ends in the time, as the kubelet's do.
    event.metadata.name = Some(format!("{pod}.{:016x}", rand::random::<u64>()));
    event.metadata.namespace = Some(ns.to_owned());
    event
}
