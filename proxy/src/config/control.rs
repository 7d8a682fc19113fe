//! Control-plane addresses and how discovery is asked.

use std::{sync::Arc, time::Duration};

use super::{Backoff, Suffixes};

/// A control-plane service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlAddr {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// The identity it must prove. `None` (plaintext) is possible for loopback addresses only.
    pub name: Option<mesh_tls::Id>,
}

/// Limits of discovery streams; a stream beyond one is replaced, its last answer kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamLimits {
    /// Until the first answer.
    pub initial: Option<Duration>,
    /// Between answers.
    pub idle: Option<Duration>,
    /// Altogether.
    pub lifetime: Option<Duration>,
}

/// The destination service.
#[derive(Clone, Debug)]
pub struct Destination {
    /// Where it is.
    pub addr: ControlAddr,
    /// Sent verbatim with every query.
    pub context: Arc<str>,
    /// Limits of its streams.
    pub limits: StreamLimits,
    /// Pauses between attempts.
    pub backoff: Backoff,
    /// Addresses for which profiles are asked.
    pub profile_networks: Arc<[ipnet::IpNet]>,
    /// Names for which profiles are asked.
    pub profile_suffixes: Suffixes,
}

/// The policy service.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Where it is.
    pub addr: ControlAddr,
    /// This workload, sent verbatim with every query.
    pub workload: Arc<str>,
    /// Limits of its streams.
    pub limits: StreamLimits,
    /// Pauses between attempts.
    pub backoff: Backoff,
}
