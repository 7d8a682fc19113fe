//! Events controllers leave about objects, for `kubectl describe` and `kubectl get events`.

use super::namespaces::living;
use super::objects::Key;
use crate::schema::json::{name, namespace, text, uid};
use crate::schema::random_suffix;
use crate::store::{ResourceKey, Store, now};
use serde_json::{Value, json};

/// Events kept of one object; older ones go.
const KEPT: usize = 20;

/// Writes events in the name of a controller. An event that repeats is counted, not stored anew.
#[derive(Clone)]
pub(super) struct Recorder {
    pub(super) store: Store,
    pub(super) component: &'static str,
}

impl Recorder {
    /// Notes something about an object. That an event could not be written is no reason to stop.
    pub(super) fn note(&self, about: &Value, kind: &str, reason: &str, message: &str) {
        let key = ResourceKey::core("events");
        let ns = namespace(about);
        // What is said in a namespace that is going away would only keep it from going.
        if !living(&self.store, &Key::new(ns, "")) {
            return;
        }
        let (all, _) = self.store.list(&key, Some(ns));
        let theirs: Vec<_> = all
            .iter()
            .filter(|e| text(e, &["involvedObject", "uid"]) == uid(about))
            .collect();
        let same = theirs
            .iter()
            .find(|e| text(e, &["reason"]) == reason && text(e, &["message"]) == message);
        let written = match same {
            Some(event) => self.store.update(&key, Some(ns), name(event), |old| {
                let mut new = old.clone();
                new["count"] = json!(old["count"].as_i64().unwrap_or(1) + 1);
                new["lastTimestamp"] = json!(now());
                Ok(new)
            }),
            None => self
                .store
                .create(&key, self.event(about, kind, reason, message)),
        };
        if let Err(fault) = written {
            tracing::debug!(%fault, reason, "event not written");
        }
        let surplus = theirs.len().saturating_sub(KEPT);
        let mut oldest: Vec<_> = theirs
            .iter()
            .map(|e| (text(e, &["lastTimestamp"]), name(e)))
            .collect();
        oldest.sort_unstable();
        for (_, event) in oldest.into_iter().take(surplus) {
            // Somebody else may have deleted it meanwhile, which is as good.
            let _ = self.store.delete(
                &key,
                Some(ns),
                event,
                &crate::store::DeleteOptions::default(),
            );
        }
    }

    fn event(&self, about: &Value, kind: &str, reason: &str, message: &str) -> Value {
        let time = now();
        json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"name": format!("{}.{}{}", name(about), random_suffix(), random_suffix()),
                         "namespace": namespace(about)},
            "involvedObject": {"apiVersion": text(about, &["apiVersion"]),
                "kind": text(about, &["kind"]), "name": name(about),
                "namespace": namespace(about), "uid": uid(about)},
            "type": kind, "reason": reason, "message": message, "count": 1,
            "firstTimestamp": time, "lastTimestamp": time,
            "source": {"component": self.component}, "reportingComponent": self.component,
        })
    }
}
