//! `control_identity_*`: the proxy's own certificate.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use super::labels::{Labels, header, sample};

#[derive(Default)]
pub(super) struct Identity {
    expires: AtomicU64,
    refreshed: AtomicU64,
    ok: AtomicU64,
    failed: AtomicU64,
}

impl Identity {
    pub(super) fn certified(&self, expires: Option<SystemTime>) {
        self.ok.fetch_add(1, Ordering::Relaxed);
        let refreshed = unix(SystemTime::now());
        self.refreshed.store(refreshed, Ordering::Relaxed);
        if let Some(expires) = expires {
            self.expires.store(unix(expires), Ordering::Relaxed);
        }
    }

    pub(super) fn not_certified(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn render(&self, out: &mut String) {
        let none = Labels::default();
        let name = "control_identity_cert_expiration_timestamp_seconds";
        let help = "When the proxy's certificate will expire (in seconds since the UNIX epoch)";
        header(out, name, "gauge", help);
        sample(out, name, "", &none, self.expires.load(Ordering::Relaxed));
        let name = "control_identity_cert_refresh_timestamp_seconds";
        let help = "When the proxy's certificate was last refreshed";
        header(out, name, "gauge", help);
        sample(out, name, "", &none, self.refreshed.load(Ordering::Relaxed));
        let name = "control_identity_cert_refreshes_total";
        let help = "How often the proxy asked for a certificate";
        header(out, name, "counter", help);
        for (result, count) in [("ok", &self.ok), ("error", &self.failed)] {
            let labels = Labels::default().with("result", result);
            sample(out, name, "", &labels, count.load(Ordering::Relaxed));
        }
    }
}

fn unix(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
