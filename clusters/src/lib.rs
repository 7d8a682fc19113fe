//! The set of linked clusters: Link to Remote lifecycle, credentials, health.
