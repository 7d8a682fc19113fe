//! Metrics of the process itself.

use prometheus_client::registry::Registry;

/// Registers `process_*`.
pub fn register(_registry: &mut Registry) {
    todo!()
}
