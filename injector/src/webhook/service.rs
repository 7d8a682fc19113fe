//! What a request goes through: looks around in the cluster, asks for the pure answer, tells.

use super::{events::Events, review};
use crate::{
    metrics::{Metrics, RequestLabels, ResponseLabels, ValidationLabels},
    owner, validate,
    webhook::review::{Answer, Outcome, Request},
    world::World,
};
use http::StatusCode;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client};
use mesh_contract::annotations;
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// A namespace that was made a moment ago may not have been heard of.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);

/// Answers reviews. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) client: Client,
    pub(crate) world: World,
    pub(crate) metrics: Metrics,
    pub(crate) events: Events,
}

/// An HTTP answer.
pub(crate) type Reply = (StatusCode, Value);

impl Service {
    pub(crate) fn new(client: Client, world: World, metrics: Metrics, pod_name: &str) -> Self {
        Self {
            events: Events::new(client.clone(), pod_name),
            client,
            world,
            metrics,
        }
    }

    /// Answers one review at `path`.
    pub(crate) async fn answer(&self, path: &str, body: &[u8]) -> Reply {
        let request = match review::read(body) {
            Ok(request) => request,
            Err(problem) => return (StatusCode::BAD_REQUEST, Value::from(problem)),
        };
        let answer = match path {
            "/inject" => self.inject(&request).await,
            "/validate" => Ok(self.validate(&request).await),
            _ => return (StatusCode::NOT_FOUND, Value::from("not found")),
        };
        match answer {
            Ok(answer) => (StatusCode::OK, answer.to_json(&request.uid)),
            // The webhook's failure policy decides.
            Err(problem) => {
                tracing::warn!(problem, "a request could not be answered");
                (StatusCode::SERVICE_UNAVAILABLE, Value::from(problem))
            }
        }
    }

    async fn inject(&self, request: &Request) -> Result<Answer, String> {
        let namespace = self.namespace(&request.namespace).await?;
        match (request.kind.group.as_str(), request.kind.kind.as_str()) {
            ("", "Service") => return Ok(review::service(&namespace, request)),
            ("", "Pod") => {}
            _ => return Ok(Answer::default()),
        }
        let settings = self.world.settings()?;
        let workload = owner::of(&self.client, &request.namespace, &request.object).await;
        let (answer, outcome) = review::pod(&settings, &namespace, workload.as_ref(), request);
        let kind = workload.as_ref().map_or("Pod", |workload| &workload.kind);
        self.count(request, kind, &outcome);
        tracing::info!(
            namespace = request.namespace,
            workload = workload.as_ref().map(|w| format!("{}/{}", w.kind, w.name)),
            ?outcome,
            "pod"
        );
        if !request.dry_run {
            self.events.tell(&request.namespace, workload, outcome);
        }
        Ok(answer)
    }

    async fn namespace(&self, name: &str) -> Result<Arc<BTreeMap<String, String>>, String> {
        if let Some(known) = self.world.annotations(name) {
            return Ok(known);
        }
        let api: Api<Namespace> = Api::all(self.client.clone());
        match tokio::time::timeout(ASK_TIMEOUT, api.get_opt(name)).await {
            Ok(Ok(found)) => {
                let annotations = found.and_then(|namespace| namespace.metadata.annotations);
                Ok(Arc::new(annotations.unwrap_or_default()))
            }
            Ok(Err(error)) => Err(format!("cannot read the namespace {name}: {error}")),
            Err(_) => Err(format!(
                "the API server did not answer about the namespace {name}"
            )),
        }
    }

    async fn validate(&self, request: &Request) -> Answer {
        let answer = validate::answer(&self.client, request).await;
        let labels = ValidationLabels {
            kind: request.kind.kind.clone(),
            allowed: if answer.refusal.is_none() {
                "true"
            } else {
                "false"
            },
        };
        self.metrics.validations.get_or_create(&labels).inc();
        if let Some(refusal) = &answer.refusal {
            let (namespace, name) = (&request.namespace, &request.name);
            tracing::info!(
                namespace,
                name,
                kind = request.kind.kind,
                refusal,
                "refused"
            );
        }
        answer
    }

    fn count(&self, request: &Request, owner_kind: &str, outcome: &Outcome) {
        let own = &request.object["metadata"]["annotations"];
        let annotation_at = match own.get(annotations::INJECT) {
            Some(_) => "workload",
            None => "namespace",
        };
        let (skipped, skip_reasons) = match outcome {
            Outcome::Injected => ("false", ""),
            Outcome::Skipped(reason) => ("true", reason.code()),
            Outcome::Refused(_) => ("error", "invalid_annotation"),
        };
        let namespace = request.namespace.clone();
        let owner_kind = owner_kind.to_lowercase();
        let labels = RequestLabels {
            owner_kind: owner_kind.clone(),
            namespace: namespace.clone(),
            annotation_at,
        };
        self.metrics.requests.get_or_create(&labels).inc();
        let labels = ResponseLabels {
            owner_kind,
            namespace,
            annotation_at,
            skipped,
            skip_reasons,
        };
        self.metrics.responses.get_or_create(&labels).inc();
    }
}
