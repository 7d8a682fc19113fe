//! How many connections channels have, for whoever wants to know.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::Dial;

/// How channels reach their server, and who counts their connections.
#[derive(Clone)]
pub struct Dialler {
    pub(super) dial: Dial,
    pub(super) connections: Arc<Connections>,
}

/// How many connections there are.
#[derive(Debug, Default)]
pub struct Connections {
    pending: AtomicU64,
    ready: AtomicU64,
}

/// A connection that is being made, or that was, for as long as it lives.
pub(super) struct Connection {
    connections: Arc<Connections>,
    ready: bool,
}

/// The bytes of a connection that is counted.
pub(super) struct Counted<I> {
    io: I,
    _connection: Connection,
}

impl Dialler {
    /// Has the channels' connections counted in `connections`.
    pub fn counted(dial: Dial, connections: Arc<Connections>) -> Self {
        Self { dial, connections }
    }
}

impl From<Dial> for Dialler {
    /// Nobody counts.
    fn from(dial: Dial) -> Self {
        Self::counted(dial, Arc::default())
    }
}

impl Connections {
    /// How many are being made; their handshake, and the wait for a certificate to show, included.
    pub fn pending(&self) -> u64 {
        self.pending.load(Ordering::Relaxed)
    }

    /// How many are there to be used.
    pub fn ready(&self) -> u64 {
        self.ready.load(Ordering::Relaxed)
    }

    pub(super) fn begin(self: &Arc<Self>) -> Connection {
        self.pending.fetch_add(1, Ordering::Relaxed);
        Connection {
            connections: self.clone(),
            ready: false,
        }
    }
}

impl Connection {
    /// Its bytes, now that it is made.
    pub(super) fn made<I>(mut self, io: I) -> Counted<I> {
        self.connections.ready.fetch_add(1, Ordering::Relaxed);
        self.connections.pending.fetch_sub(1, Ordering::Relaxed);
        self.ready = true;
        Counted {
            io,
            _connection: self,
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let count = match self.ready {
            true => &self.connections.ready,
            false => &self.connections.pending,
        };
        count.fetch_sub(1, Ordering::Relaxed);
    }
}

crate::read_through!(Counted);
crate::write_through!(Counted);
