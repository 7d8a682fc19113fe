//! What the webhooks count, under Linkerd's names.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// A request to inject.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct RequestLabels {
    pub(crate) owner_kind: String,
    pub(crate) namespace: String,
    /// `workload` or `namespace`: where `linkerd.io/inject` was found.
    pub(crate) annotation_at: &'static str,
}

/// What became of it.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct ResponseLabels {
    pub(crate) owner_kind: String,
    pub(crate) namespace: String,
    pub(crate) annotation_at: &'static str,
    /// `true`, `false`, or `error` where the pod was refused.
    pub(crate) skipped: &'static str,
    pub(crate) skip_reasons: &'static str,
}

/// A resource that was validated.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct ValidationLabels {
    pub(crate) kind: String,
    pub(crate) allowed: &'static str,
}

/// Registered once; clones share.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) requests: Family<RequestLabels, Counter>,
    pub(crate) responses: Family<ResponseLabels, Counter>,
    pub(crate) validations: Family<ValidationLabels, Counter>,
    pub(crate) certificate_expiry: Gauge,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "proxy_inject_admission_requests",
            "Pods the injector was asked about",
            metrics.requests.clone(),
        );
        registry.register(
            "proxy_inject_admission_responses",
            "What became of them",
            metrics.responses.clone(),
        );
        registry.register(
            "policy_validation_requests",
            "Resources of the mesh that were validated",
            metrics.validations.clone(),
        );
        registry.register(
            "webhook_certificate_expiry_timestamp_seconds",
            "When the webhooks' serving certificate expires",
            metrics.certificate_expiry.clone(),
        );
        metrics
    }
}
