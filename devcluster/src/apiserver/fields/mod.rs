//! Who set which field: sets of field paths, what of an object they are, and the
//! `metadata.managedFields` that remember them.

pub(super) mod managed;
pub(super) mod set;
pub(super) mod shape;
pub(super) mod walk;

#[cfg(test)]
mod tests;
