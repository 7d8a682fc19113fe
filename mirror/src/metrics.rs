//! Metrics of the service mirror.

use mesh_clusters::{Liveness, RemoteState};
use mesh_watch::Counters;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Cluster {
    target_cluster_name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WriteOutcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    enabled: Family<Cluster, Gauge>,
    alive: Family<Cluster, Gauge>,
    latency: Family<Cluster, Gauge>,
    services: Family<Cluster, Gauge>,
    writes: Family<WriteOutcome, Gauge>,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        for (name, help, family) in [
            (
                "gateway_enabled",
                "1 where the Link has a gateway",
                &metrics.enabled,
            ),
            (
                "gateway_alive",
                "1 while the gateway answers its probes",
                &metrics.alive,
            ),
            (
                "gateway_latency",
                "Milliseconds of the last probe answered",
                &metrics.latency,
            ),
            (
                "mirrored_services",
                "Services taken over from the cluster",
                &metrics.services,
            ),
        ] {
            registry.register(name, help, family.clone());
        }
        registry.register(
            "service_mirror_writes",
            "Writes by outcome",
            metrics.writes.clone(),
        );
        metrics
    }

    pub(crate) fn record(&self, remotes: &BTreeMap<String, RemoteState>, counters: Counters) {
        for family in [&self.enabled, &self.alive, &self.latency, &self.services] {
            family.clear();
        }
        for (name, remote) in remotes {
            let cluster = Cluster {
                target_cluster_name: name.clone(),
            };
            let set = |family: &Family<Cluster, Gauge>, value: i64| {
                family.get_or_create(&cluster).set(value);
            };
            let services = i64::try_from(remote.snapshot.services.len()).unwrap_or(i64::MAX);
            set(&self.services, services);
            set(&self.enabled, i64::from(remote.gateway.is_some()));
            if let Some(gateway) = &remote.gateway {
                set(&self.alive, i64::from(gateway.liveness == Liveness::Alive));
                let latency = gateway.latency.map(|l| l.as_millis());
                set(
                    &self.latency,
                    latency.and_then(|ms| i64::try_from(ms).ok()).unwrap_or(0),
                );
            }
        }
        for (outcome, count) in [
            ("done", counters.done),
            ("failed", counters.failed),
            ("timed_out", counters.timed_out),
            ("held_back", counters.held_back),
        ] {
            let gauge = self.writes.get_or_create(&WriteOutcome { outcome });
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}
