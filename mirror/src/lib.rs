//! The service mirror: snapshot to plan to apply.
