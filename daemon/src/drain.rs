//! How listeners and connections end.

use std::time::Duration;

/// The owner's side.
#[derive(Debug)]
pub struct Drainer;

/// The side of listeners and connections; cheap to clone.
#[derive(Clone, Debug)]
pub struct Drain;

/// Keeps a drain waiting while a connection lives.
#[derive(Debug)]
pub struct Hold;

/// How a drain went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections still open when the deadline came.
    pub aborted: usize,
}

/// A connected pair.
pub fn drain() -> (Drainer, Drain) {
    todo!()
}

impl Drainer {
    /// Asks everyone to finish, waits at most `deadline`, then tells the rest to abort.
    pub async fn drain(self, _deadline: Duration) -> Drained {
        todo!()
    }
}

impl Drain {
    /// Taken by each connection (not by idle listeners).
    pub fn hold(&self) -> Hold {
        todo!()
    }
    /// Resolves when draining starts: stop accepting, finish what is in flight.
    pub async fn started(&self) {
        todo!()
    }
    /// Resolves when the deadline has passed: close now.
    pub async fn aborted(&self) {
        todo!()
    }
    /// Whether draining has started.
    pub fn is_started(&self) -> bool {
        todo!()
    }
}
