//! A cluster on one machine: embedded API server and node agent.
