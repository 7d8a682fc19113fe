//! What identity counts. Registered once by `run`.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use std::{sync::atomic::AtomicU64, time::SystemTime};

/// Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    requests: Family<Outcome, Counter>,
    reloads: Family<Outcome, Counter>,
    expiry: Gauge<f64, AtomicU64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    result: &'static str,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("identity");
        registry.register(
            "certify_requests",
            "Requests for certificates, by what came of them",
            metrics.requests.clone(),
        );
        registry.register(
            "issuer_loads",
            "Times the issuer was read, by what came of it",
            metrics.reloads.clone(),
        );
        registry.register(
            "issuer_expiration_timestamp_seconds",
            "When the issuer in use expires; 0 before there is one",
            metrics.expiry.clone(),
        );
        metrics
    }

    /// `issued`, or why not.
    pub(crate) fn certify(&self, result: &'static str) {
        self.requests.get_or_create(&Outcome { result }).inc();
    }

    pub(crate) fn loaded(&self, expiry: Option<SystemTime>) {
        let result = if expiry.is_some() { "ok" } else { "error" };
        self.reloads.get_or_create(&Outcome { result }).inc();
        if let Some(expiry) = expiry {
            let since = expiry.duration_since(SystemTime::UNIX_EPOCH);
            self.expiry.set(since.unwrap_or_default().as_secs_f64());
        }
    }
}
