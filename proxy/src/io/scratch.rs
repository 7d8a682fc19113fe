//! Buffers that a connection needs only while bytes pass: taken, used, given back.
//!
//! Ten thousand idle connections have none; those that are busy on a thread at a time share a few.

use std::cell::RefCell;

/// The size of a buffer: four TLS records.
pub(super) const SIZE: usize = 64 * 1024;
/// Buffers a thread keeps for the next time.
const KEPT: usize = 4;

thread_local! {
    static FREE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer of [`SIZE`] bytes with anything in them.
pub(super) fn take() -> Vec<u8> {
    let free = FREE.with_borrow_mut(Vec::pop);
    free.unwrap_or_else(|| vec![0; SIZE])
}

/// Gives a buffer back.
pub(super) fn give(buffer: Vec<u8>) {
    FREE.with_borrow_mut(|free| {
        if free.len() < KEPT && buffer.len() == SIZE {
            free.push(buffer);
        }
    });
}
