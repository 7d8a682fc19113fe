//! `outbound_tcp_transfer_cost_bytes_total`: what stays in our zone, and what is paid for.

use std::sync::atomic::{AtomicU64, Ordering};

use super::labels::{Labels, header, sample};

/// Where an endpoint is, seen from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Zone {
    /// Nobody says.
    Unknown,
    /// In our zone.
    Local,
    /// In another one.
    Remote,
}

impl Zone {
    /// From discovery's labels.
    pub(super) fn of(labels: &[(String, String)]) -> Self {
        let locality = labels.iter().find(|(name, _)| name == "zone_locality");
        match locality.map(|(_, value)| value.as_str()) {
            Some("local") => Self::Local,
            Some("remote") => Self::Remote,
            _ => Self::Unknown,
        }
    }
}

/// Bytes received and sent, by zone.
#[derive(Debug, Default)]
pub(super) struct Transfers([[AtomicU64; 2]; 3]);

impl Transfers {
    pub(super) fn add(&self, zone: Zone, received: u64, sent: u64) {
        let [all_received, all_sent] = &self.0[zone as usize];
        all_received.fetch_add(received, Ordering::Relaxed);
        all_sent.fetch_add(sent, Ordering::Relaxed);
    }

    pub(super) fn render(&self, out: &mut String) {
        let name = "outbound_tcp_transfer_cost_bytes_total";
        let help = "Bytes exchanged with endpoints, by how far away they are";
        header(out, name, "counter", help);
        for (zone, counts) in ["unknown", "local", "remote"].into_iter().zip(&self.0) {
            for (op, count) in ["recv", "send"].into_iter().zip(counts) {
                let labels = Labels::default().with("op", op).with("zone_locality", zone);
                sample(out, name, "", &labels, count.load(Ordering::Relaxed));
            }
        }
    }
}
