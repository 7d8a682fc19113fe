//! The admin server on 4191: liveness, readiness, metrics, log level, shutdown.
