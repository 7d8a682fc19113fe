//! What the control plane says beyond Linkerd's API: who is restricted whatever policies allow, and
//! how long what is known holds without it.
//!
//! One task ([`follow`]) listens on the connection policies come over. A control plane that lacks
//! the service leaves the proxy as a stock one. While none is heard what was said last holds:
//! silence lifts no restriction. Deciding is pure ([`restrictions`], [`lease`]); the inbound half
//! asks [`Directives::admit`] for each connection, a gateway asks for the lease.

mod follow;
mod lease;
mod restrictions;
mod turns;

use std::{sync::Arc, time::Duration};

use mesh_federation as api;
use mesh_tls::Id;
use tokio::{sync::watch, time::Instant};

pub use self::turns::Turn;
use self::{lease::Lease, restrictions::Restrictions, turns::Turns};
use crate::metrics::Meta;

/// What was said last. Cloned freely.
#[derive(Clone, Debug)]
pub struct Directives(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    restrictions: watch::Sender<Arc<Restrictions>>,
    lease: watch::Sender<Lease>,
    /// Whether there was any answer, if only that there is none.
    heard: watch::Sender<bool>,
    close_withdrawn: watch::Sender<bool>,
    connections: Turns,
    requests: Turns,
}

/// Why a client is not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is denied, by this object.
    Denied(Meta),
    /// It has as many as it may.
    Full,
}

/// A connection of a client that was let in; it counts until dropped.
#[derive(Debug)]
pub struct Admitted {
    directives: Directives,
    /// None of a client without an identity: nothing restricts it.
    id: Option<Id>,
    _turn: Option<Turn>,
}

impl Default for Directives {
    /// Nothing was said.
    fn default() -> Self {
        Self(Arc::new(Inner {
            restrictions: watch::Sender::default(),
            lease: watch::Sender::new(Lease::NONE),
            heard: watch::Sender::new(false),
            close_withdrawn: watch::Sender::new(false),
            connections: Turns::default(),
            requests: Turns::default(),
        }))
    }
}

impl Directives {
    /// Takes over what the control plane says. It is all there is: what it does not name is over.
    pub(crate) fn told(&self, said: &api::Directives) {
        let restrictions = Restrictions::new(&said.restrictions);
        self.0.restrictions.send_if_modified(|known| {
            let differs = **known != restrictions;
            if differs {
                tracing::info!(restrictions = %restrictions, "restrictions of clients changed");
                *known = Arc::new(restrictions);
            }
            differs
        });
        self.0.close_withdrawn.send_replace(said.close_withdrawn);
        let lease = Duration::from_secs(said.lease_seconds.into());
        self.0.lease.send_replace(Lease::new(lease, Instant::now()));
        self.0.heard.send_replace(true);
    }

    /// The control plane has no word for any of this. Nobody will renew a lease, and nobody has
    /// lifted a restriction.
    fn absent(&self) {
        self.0.lease.send_replace(Lease::NONE);
        self.0.close_withdrawn.send_replace(false);
        self.0.heard.send_replace(true);
    }

    /// Waits for the first answer, but not for long: nobody should come in before who is denied is
    /// known, and a control plane that is away must not keep a workload from serving.
    pub async fn first_answer(&self, patience: Duration) {
        let mut heard = self.0.heard.subscribe();
        let _ = tokio::time::timeout(patience, heard.wait_for(|heard| *heard)).await;
    }

    /// Lets a client in, or says why not.
    pub fn admit(&self, id: Option<&Id>) -> Result<Admitted, Refusal> {
        let mut turn = None;
        if let Some(id) = id {
            let restrictions = self.0.restrictions.borrow().clone();
            let verdict = restrictions.of(id);
            if let Some(by) = verdict.denied {
                return Err(Refusal::Denied(by.clone()));
            }
            turn = Some(self.0.connections.take(id, verdict.max_connections)?);
        }
        Ok(Admitted {
            directives: self.clone(),
            id: id.cloned(),
            _turn: turn,
        })
    }

    /// Whether the control plane has been away for longer than what is exported may be believed.
    pub fn has_lapsed(&self) -> bool {
        self.0.lease.borrow().has_lapsed(Instant::now())
    }

    /// Completes once it has.
    pub async fn lapsed(&self) {
        let mut lease = self.0.lease.subscribe();
        loop {
            let end = lease.borrow_and_update().end();
            tokio::select! {
                () = until(end) => return,
                changed = lease.changed() => if changed.is_err() {
                    return std::future::pending().await;
                },
            }
        }
    }

    /// Completes once connections to other clusters are to end when what they were made for is
    /// imported no more.
    pub async fn close_withdrawn(&self) {
        let mut close = self.0.close_withdrawn.subscribe();
        // The sender is ours.
        let _ = close.wait_for(|close| *close).await;
    }

    /// What is believed, for `/state`.
    pub fn state(&self) -> serde_json::Value {
        let lease = *self.0.lease.borrow();
        serde_json::json!({
            "heard": *self.0.heard.borrow(),
            "restrictions": self.0.restrictions.borrow().names(),
            "lease_seconds": lease.length().map(|length| length.as_secs()),
            "lease_lapsed": lease.has_lapsed(Instant::now()),
        })
    }
}

impl Admitted {
    /// Completes, saying by which object, when the client is denied.
    pub async fn denied(&self) -> Meta {
        let Some(id) = &self.id else {
            return std::future::pending().await;
        };
        let mut restrictions = self.directives.0.restrictions.subscribe();
        loop {
            let known = restrictions.borrow_and_update().clone();
            if let Some(by) = known.of(id).denied {
                return by.clone();
            }
            if restrictions.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// A request's turn, to be kept until its response has ended; none if nothing limits them.
    pub fn request(&self) -> Result<Option<Turn>, Refusal> {
        let Some(id) = &self.id else {
            return Ok(None);
        };
        let restrictions = self.directives.0.restrictions.borrow();
        let Some(most) = restrictions.of(id).max_requests else {
            return Ok(None);
        };
        drop(restrictions);
        self.directives.0.requests.take(id, Some(most)).map(Some)
    }
}

async fn until(end: Option<Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
