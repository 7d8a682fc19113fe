//! Tells users: the status of each Link, and an Event for each new problem.

use crate::{
    plan::{Plan, Problem, Report},
    status::{differs, status},
};
use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, Client, Resource as _,
    api::{Patch, PatchParams},
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use mesh_api::link::{Link, LinkStatus};
use mesh_clusters::RemoteState;
use mesh_contract::names;
use mesh_watch::said;
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};
use tokio::time::timeout;

/// A status that differs only in a latency is written no more often than this.
const LATENCY_PERIOD: Duration = Duration::from_secs(10);
/// Time until a status that was written is heard again with the Link.
const ECHO: Duration = Duration::from_secs(5);
/// Time one write may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What was told.
pub(crate) struct Teller {
    api: Api<Link>,
    recorder: Recorder,
    /// Problems an Event was written about.
    reported: BTreeSet<(String, String, String, String)>,
    /// The status last written of each Link, and when.
    written: BTreeMap<String, (LinkStatus, Instant)>,
}

impl Teller {
    /// Of the Links in `namespace`; Events are by `pod`.
    pub(crate) fn new(client: &Client, namespace: &str, pod: &str) -> Self {
        let reporter = Reporter {
            controller: names::MIRROR_CONTROLLER.to_owned(),
            instance: Some(pod.to_owned()),
        };
        Self {
            api: Api::namespaced(client.clone(), namespace),
            recorder: Recorder::new(client.clone(), reporter),
            reported: BTreeSet::new(),
            written: BTreeMap::new(),
        }
    }

    /// Somebody else may tell from now on.
    pub(crate) fn forget(&mut self) {
        self.written.clear();
    }

    /// Tells what is new; whether that worked.
    pub(crate) async fn tell(
        &mut self,
        remotes: &BTreeMap<String, RemoteState>,
        plan: &Plan,
    ) -> bool {
        let told = self.write_statuses(remotes, plan).await;
        self.report(remotes, plan).await && told
    }

    /// Writes what changed of the Links' status; whether that worked.
    async fn write_statuses(
        &mut self,
        remotes: &BTreeMap<String, RemoteState>,
        plan: &Plan,
    ) -> bool {
        let mut told = true;
        self.written.retain(|link, _| remotes.contains_key(link));
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        for (link, remote) in remotes {
            let mut wanted = status(link, remote, plan, &now);
            if let Some((written, at)) = self.written.get(link) {
                // Times that were written a moment ago are not in the Link as it is followed yet.
                keep_times(&mut wanted, written);
                let slow_only = !differs(&wanted, written);
                // Once the Link has been heard again, what it says counts.
                let there = remote.link.status.as_ref() == Some(written);
                let settled = there || at.elapsed() < ECHO;
                if (settled && wanted == *written) || (slow_only && at.elapsed() < LATENCY_PERIOD) {
                    continue;
                }
            }
            let patch = Patch::Merge(json!({ "status": wanted }));
            let params = PatchParams::default();
            match timeout(TIMEOUT, self.api.patch_status(link, &params, &patch)).await {
                Ok(Ok(_)) => {
                    self.written.insert(link.clone(), (wanted, Instant::now()));
                }
                // It was deleted a moment ago.
                Ok(Err(kube::Error::Api(status))) if status.code == 404 => {}
                Ok(Err(error)) => {
                    tracing::warn!(link, error = said(&error), "cannot write the Link's status");
                    told = false;
                }
                Err(_) => {
                    tracing::warn!(link, "cannot write the Link's status: no answer");
                    told = false;
                }
            }
        }
        told
    }

    /// Writes one Event for each new problem; whether that worked.
    async fn report(&mut self, remotes: &BTreeMap<String, RemoteState>, plan: &Plan) -> bool {
        let mut told = true;
        let mut current = BTreeSet::new();
        for report in &plan.reports {
            let Err(problem) = &report.result else {
                continue;
            };
            let key = (
                report.link.clone(),
                report.remote.0.clone(),
                report.remote.1.clone(),
                problem.reason.to_owned(),
            );
            if !self.reported.contains(&key)
                && let Some(remote) = remotes.get(&report.link)
                && !self.event(remote, report, problem).await
            {
                told = false;
                continue;
            }
            current.insert(key);
        }
        self.reported = current;
        told
    }

    async fn event(&self, remote: &RemoteState, report: &Report, problem: &Problem) -> bool {
        let (namespace, name) = &report.remote;
        let note = format!(
            "{namespace}/{name} of {} is not mirrored: {}",
            report.link, problem.message
        );
        tracing::warn!("{note}");
        let event = Event {
            type_: EventType::Warning,
            reason: problem.reason.to_owned(),
            note: Some(note),
            action: "Mirror".to_owned(),
            secondary: None,
        };
        let about = remote.link.object_ref(&());
        match timeout(TIMEOUT, self.recorder.publish(&event, &about)).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::warn!(%error, "cannot write an Event");
                false
            }
            Err(_) => {
                tracing::warn!("cannot write an Event: no answer");
                false
            }
        }
    }
}

/// Takes over the times of conditions that have the same status in `written`.
fn keep_times(wanted: &mut LinkStatus, written: &LinkStatus) {
    let keep = |wanted: &mut [mesh_api::link::Condition], written: &[mesh_api::link::Condition]| {
        for condition in wanted {
            let same = written
                .iter()
                .find(|w| w.type_ == condition.type_ && w.status == condition.status);
            if let Some(same) = same {
                condition
                    .last_transition_time
                    .clone_from(&same.last_transition_time);
            }
        }
    };
    keep(&mut wanted.conditions, &written.conditions);
    for (wanted, written) in [
        (&mut wanted.mirror_services, &written.mirror_services),
        (&mut wanted.federated_services, &written.federated_services),
    ] {
        for service in wanted {
            if let Some(known) = written.iter().find(|w| w.remote_ref == service.remote_ref) {
                keep(&mut service.conditions, &known.conditions);
            }
        }
    }
}
