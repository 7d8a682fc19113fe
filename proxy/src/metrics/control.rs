//! `control_dns_resolutions_total` and `control_*_balancer_endpoints`: how the addresses of the control
//! plane are found, and whether there are connections to them.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use mesh_tls::control::Connections;
use parking_lot::Mutex;

use super::{
    balancer,
    labels::{Labels, header, sample},
};

/// Who asks something of the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum ControlClient {
    /// Discovery.
    Destination,
    /// Policies.
    Policy,
    /// The sidecar's certificate.
    Identity,
    /// Spans for a collector.
    Trace,
}

/// In the order of [`ControlClient`].
const CLIENTS: [&str; 4] = ["destination", "policy", "identity", "trace"];

/// Resolutions of each client.
#[derive(Default)]
pub(super) struct Resolutions([Arc<Ends>; CLIENTS.len()]);

/// How resolutions of one client ended.
#[derive(Default)]
struct Ends {
    ok: AtomicU64,
    not_found: AtomicU64,
}

/// A resolution on its way. One that is given up, as it took too long, found nothing.
pub(crate) struct Resolution {
    ends: Arc<Ends>,
    found: bool,
}

/// Connections of each client, by address: a handful, as configuration says them.
#[derive(Default)]
pub(super) struct Balancers([Mutex<ByAddr>; CLIENTS.len()]);

type ByAddr = BTreeMap<String, Arc<Connections>>;

impl Balancers {
    /// Those of `client` to `addr`.
    pub(super) fn to(&self, client: ControlClient, addr: &str) -> Arc<Connections> {
        let mut all = self.0[client as usize].lock();
        all.entry(addr.to_owned()).or_default().clone()
    }

    pub(super) fn render(&self, out: &mut String) {
        for (client, all) in CLIENTS.iter().zip(&self.0) {
            let all = all.lock();
            let labelled = all.iter().map(|(addr, connections)| {
                let labels = Labels::default().with("addr", addr).finish();
                (labels, [connections.ready(), connections.pending()])
            });
            let labelled: Vec<_> = labelled.collect();
            if !labelled.is_empty() {
                let prefix = format!("control_{client}_balancer");
                balancer::render_endpoints(out, &prefix, labelled.iter().map(|(l, s)| (&**l, *s)));
            }
        }
    }
}

impl Resolutions {
    pub(super) fn begin(&self, client: ControlClient) -> Resolution {
        Resolution {
            ends: self.0[client as usize].clone(),
            found: false,
        }
    }

    /// Clients that resolved nothing, as what they ask is an address, are left out.
    pub(super) fn render(&self, out: &mut String) {
        let counts = |ends: &Ends| {
            [("ok", &ends.ok), ("not_found", &ends.not_found)]
                .map(|(result, count)| (result, count.load(Ordering::Relaxed)))
        };
        let all = CLIENTS.iter().zip(&self.0);
        let all = all.map(|(client, ends)| (client, counts(ends)));
        let mut used = all
            .filter(|(_, counts)| counts.iter().any(|(_, count)| *count > 0))
            .peekable();
        if used.peek().is_none() {
            return;
        }
        let name = "control_dns_resolutions_total";
        let help = "How often the name of a control-plane address was resolved";
        header(out, name, "counter", help);
        for (client, counts) in used {
            for (result, count) in counts {
                let labels = Labels::default()
                    .with("client", client)
                    .with("record_type", "A/AAAA")
                    .with("result", result);
                sample(out, name, "", &labels, count);
            }
        }
    }
}

impl Resolution {
    /// Counts it by whether there is an address.
    pub(crate) fn ended(mut self, found: bool) {
        self.found = found;
    }
}

impl Drop for Resolution {
    fn drop(&mut self) {
        let count = match self.found {
            true => &self.ends.ok,
            false => &self.ends.not_found,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}
