//! What the services count.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// Counters of the services; clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    streams: Family<Rpc, Gauge>,
    messages: Family<Rpc, Counter>,
    refusals: Family<Reason, Counter>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Rpc {
    rpc: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

/// A stream is open as long as this lives.
#[derive(Debug)]
pub(super) struct Open {
    streams: Gauge,
    messages: Counter,
}

impl Metrics {
    /// Registered under `destination_`.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("destination");
        registry.register("streams", "Open streams", metrics.streams.clone());
        registry.register("messages", "Messages sent", metrics.messages.clone());
        registry.register("refusals", "Requests refused", metrics.refusals.clone());
        metrics
    }

    /// A stream of this RPC opened.
    pub(super) fn open(&self, rpc: &'static str) -> Open {
        let rpc = Rpc { rpc };
        let streams = self.streams.get_or_create(&rpc).clone();
        streams.inc();
        Open {
            streams,
            messages: self.messages.get_or_create(&rpc).clone(),
        }
    }

    /// A request was refused.
    pub(super) fn refused(&self, reason: &'static str) {
        self.refusals.get_or_create(&Reason { reason }).inc();
    }
}

impl Open {
    /// A message went out.
    pub(super) fn sent(&self) {
        self.messages.inc();
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.streams.dec();
    }
}
