//! What the workload receives.

pub mod gateway;
