//! Ready means that nobody holds a guard.
//!
//! Each part of a process that must be up before traffic may come takes a guard at start and
//! drops it when it is there; the log then names who is still awaited. A guard may be taken again
//! later to make the process unready. Asked by `admin` for `/ready`.

use std::sync::Arc;
use tokio::sync::watch;

/// Collects guards; clones share them.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<watch::Sender<Vec<&'static str>>>);

/// Something that is still awaited; dropping it says that it is there.
#[derive(Debug)]
pub struct Guard {
    name: &'static str,
    readiness: Readiness,
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

impl Readiness {
    /// A process that waits for nothing yet, and therefore is ready.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Vec::new())))
    }

    /// Makes the process unready until the guard is dropped.
    pub fn guard(&self, name: &'static str) -> Guard {
        self.0.send_modify(|awaited| awaited.push(name));
        Guard {
            name,
            readiness: self.clone(),
        }
    }

    /// Whether nothing is awaited.
    pub fn is_ready(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// Names of what is still awaited, in the order it was announced.
    pub fn awaited(&self) -> Vec<&'static str> {
        self.0.borrow().clone()
    }

    /// Resolves once nothing is awaited.
    pub async fn ready(&self) {
        let mut rx = self.0.subscribe();
        // Cannot fail: `self` holds the sender.
        let _ = rx.wait_for(Vec::is_empty).await;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.readiness.0.send_modify(|awaited| {
            if let Some(at) = awaited.iter().position(|name| *name == self.name) {
                awaited.remove(at);
            }
        });
        let awaited = self.readiness.awaited();
        if awaited.is_empty() {
            tracing::info!(done = self.name, "ready");
        } else {
            tracing::info!(done = self.name, ?awaited, "not ready yet");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ready_is_the_absence_of_guards() {
        let readiness = Readiness::new();
        assert!(readiness.is_ready());
        let identity = readiness.guard("identity");
        let watch = readiness.guard("watch");
        assert_eq!(readiness.awaited(), ["identity", "watch"]);
        drop(identity);
        assert_eq!(readiness.awaited(), ["watch"]);

        let waiting = tokio::spawn({
            let readiness = readiness.clone();
            async move { readiness.ready().await }
        });
        drop(watch);
        waiting.await.unwrap();
        assert!(readiness.is_ready());
    }

    #[test]
    fn two_guards_of_one_name_are_two_guards() {
        let readiness = Readiness::new();
        let first = readiness.guard("watch");
        let _second = readiness.guard("watch");
        drop(first);
        assert!(!readiness.is_ready());
    }
}
