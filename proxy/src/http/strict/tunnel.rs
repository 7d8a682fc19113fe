//! Whether a connection has left HTTP: known to the server that sees the answer to an upgrade, asked
//! by [`super::Watch`], which sees the bytes.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

/// What became of the last upgrade that was asked for. Cloned freely.
#[derive(Clone, Debug, Default)]
pub struct Tunnel(Arc<AtomicU8>);

const OPEN: u8 = 0;
const AGREED: u8 = 1;
const REFUSED: u8 = 2;
/// The client did not wait for the answer: what it sent cannot be judged.
const EARLY: u8 = 3;

impl Tunnel {
    /// An upgrade is asked for.
    pub(super) fn ask(&self) {
        self.0.store(OPEN, Ordering::Release);
    }

    /// Whether bytes after the request are none of HTTP's; from then on they are, unless it was
    /// refused.
    pub(super) fn is_raw(&self) -> bool {
        let early = self
            .0
            .compare_exchange(OPEN, EARLY, Ordering::AcqRel, Ordering::Acquire);
        early != Err(REFUSED)
    }

    /// What the server answered. Whether the connection must end: it was refused too late for
    /// bytes that came before.
    pub(in crate::http) fn answered(&self, agreed: bool) -> bool {
        let answer = if agreed { AGREED } else { REFUSED };
        let before = self
            .0
            .compare_exchange(OPEN, answer, Ordering::AcqRel, Ordering::Acquire);
        before == Err(EARLY) && !agreed
    }
}
