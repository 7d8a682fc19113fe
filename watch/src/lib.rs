//! What every controller shares: resilient streams to an index, keyed writer, lease.
