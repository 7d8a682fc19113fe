//! What every process shares: args, telemetry, admin, readiness, drain, dialling.
