//! The lean proxy binary.
fn main() {}
