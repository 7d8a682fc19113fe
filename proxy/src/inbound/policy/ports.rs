//! Which ports are watched, and which of them is given up when there are too many. Pure: it knows who
//! holds what, and nothing of streams.
//!
//! Ports come from clients, and each costs a stream. So there is a bound, and it must not be a way
//! to keep others from the ports they need: at the bound a port is given up for a new one, first of
//! those behind which nobody has been met, and never one whose connections reach the workload.

use std::{collections::HashMap, sync::Arc};

use tokio::{sync::watch, task::AbortHandle};

use super::{ServerPolicy, watch::Receiver};

/// Most ports that clients can have watched.
pub(in crate::inbound) const MAX_PORTS: usize = 1024;

/// The ports being watched.
#[derive(Default)]
pub(super) struct Ports {
    entries: HashMap<u16, Entry>,
    /// Counts uses: the order in which ports were asked for.
    uses: u64,
}

/// One port.
pub(super) struct Entry {
    /// Connections hold its receivers; they see its end if the port is given up.
    policy: Arc<watch::Sender<Arc<ServerPolicy>>>,
    /// Whether the control plane was heard about this port, or waited for long enough.
    heard: watch::Receiver<bool>,
    /// Whether it is one of the configuration's, which are never given up.
    kept: bool,
    /// Whether somebody was met behind it.
    serves: bool,
    used: u64,
    task: AbortHandle,
}

impl Ports {
    /// What is known of a port that is watched.
    pub(super) fn get(&mut self, port: u16) -> Option<(Receiver, watch::Receiver<bool>)> {
        self.uses += 1;
        let entry = self.entries.get_mut(&port)?;
        entry.used = self.uses;
        Some((entry.policy.subscribe(), entry.heard.clone()))
    }

    /// Makes room for one more that a client names. Whether there is any.
    pub(super) fn make_room(&mut self) -> bool {
        if self.entries.len() < MAX_PORTS {
            return true;
        }
        let may_go = self.entries.iter().filter(|(_, entry)| !entry.is_needed());
        let victim = may_go.min_by_key(|(_, entry)| (entry.serves, entry.is_live(), entry.used));
        let Some(port) = victim.map(|(port, _)| *port) else {
            return false;
        };
        tracing::debug!(port, "policy is given up for that of another port");
        if let Some(entry) = self.entries.remove(&port) {
            entry.task.abort();
        }
        true
    }

    /// Begins to hold what `task` keeps fresh.
    pub(super) fn insert(
        &mut self,
        port: u16,
        policy: Arc<watch::Sender<Arc<ServerPolicy>>>,
        heard: watch::Receiver<bool>,
        task: AbortHandle,
    ) {
        self.uses += 1;
        let entry = Entry {
            policy,
            heard,
            kept: false,
            serves: false,
            used: self.uses,
            task,
        };
        self.entries.insert(port, entry);
    }

    /// This one is never given up.
    pub(super) fn keep(&mut self, port: u16) {
        if let Some(entry) = self.entries.get_mut(&port) {
            entry.kept = true;
        }
    }

    /// Somebody was met behind this one.
    pub(super) fn serves(&mut self, port: u16) {
        if let Some(entry) = self.entries.get_mut(&port) {
            entry.serves = true;
        }
    }

    /// Forgets a port that nobody uses. Whether it did.
    pub(super) fn forget_unused(&mut self, port: u16) -> bool {
        let unused = self.is_unused(port);
        if unused {
            self.entries.remove(&port);
        }
        unused
    }

    /// Whether nobody uses the port.
    pub(super) fn is_unused(&self, port: u16) -> bool {
        let entry = self.entries.get(&port);
        entry.is_none_or(|entry| !entry.kept && !entry.is_live())
    }
}

impl Entry {
    fn is_live(&self) -> bool {
        self.policy.receiver_count() > 0
    }

    fn is_needed(&self) -> bool {
        self.kept || (self.serves && self.is_live())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{inbound::policy::Protocol, metrics::Meta};

    fn policy() -> ServerPolicy {
        ServerPolicy {
            protocol: Protocol::Opaque,
            authorizations: Vec::new(),
            rate_limit: None,
            meta: Meta::default_named("test"),
        }
    }

    fn insert(ports: &mut Ports, port: u16) {
        let task = tokio::spawn(std::future::pending::<()>()).abort_handle();
        let policy = watch::Sender::new(Arc::new(policy()));
        ports.insert(port, Arc::new(policy), watch::channel(true).1, task);
    }

    /// A full table; the ports are those from 1 on, in the order they were asked for.
    async fn full() -> Ports {
        let mut ports = Ports::default();
        for port in 1..=u16::try_from(MAX_PORTS).unwrap() {
            assert!(ports.make_room());
            insert(&mut ports, port);
        }
        ports
    }

    fn given_up(ports: &mut Ports) -> Option<u16> {
        let before: Vec<u16> = ports.entries.keys().copied().collect();
        assert_eq!(ports.make_room(), ports.entries.len() < before.len());
        let mut gone = before
            .into_iter()
            .filter(|port| !ports.entries.contains_key(port));
        gone.next()
    }

    #[tokio::test]
    async fn at_the_bound_the_least_needed_port_is_given_up() {
        let mut ports = full().await;
        // 1 is configured, 2 serves, 3 has connections that reach nobody, 4 was asked for again.
        ports.keep(1);
        ports.serves(2);
        let held = ports.get(3).unwrap();
        drop(ports.get(4).unwrap());
        // Full again each time, with one that is not to be given up.
        let refill = |ports: &mut Ports, port| {
            insert(ports, port);
            ports.keep(port);
        };
        for unused in 5..=u16::try_from(MAX_PORTS).unwrap() {
            assert_eq!(given_up(&mut ports), Some(unused));
            refill(&mut ports, unused + 10_000);
        }
        assert_eq!(given_up(&mut ports), Some(4));
        refill(&mut ports, 20_000);
        // Who held it sees its end.
        assert!(held.0.has_changed().is_ok());
        assert_eq!(given_up(&mut ports), Some(3));
        assert!(held.0.has_changed().is_err());
        refill(&mut ports, 20_001);
        // What serves goes last, and not while it is in use.
        let served = ports.get(2).unwrap();
        assert_eq!(given_up(&mut ports), None);
        drop(served);
        assert_eq!(given_up(&mut ports), Some(2));
        refill(&mut ports, 20_002);
        assert_eq!(given_up(&mut ports), None);
    }

    #[tokio::test]
    async fn a_port_is_forgotten_when_nobody_uses_it() {
        let mut ports = full().await;
        let held = ports.get(1).unwrap();
        ports.keep(2);
        assert!(!ports.forget_unused(1) && !ports.forget_unused(2));
        assert!(ports.forget_unused(3));
        drop(held);
        assert!(ports.forget_unused(1));
        assert!(ports.get(1).is_none());
    }
}
