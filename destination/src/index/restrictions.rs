//! What holds for clients whatever policies allow, and what gateways hold for how long.

use super::{rules::Identities, store::Store};
use mesh_api::policy as api;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// A ClientRestriction.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Restriction {
    /// Whom it restricts.
    pub(crate) identities: Identities,
    /// Whether they are refused.
    pub(crate) deny: bool,
    /// How many connections each may have to a proxy.
    pub(crate) max_connections: Option<u32>,
    /// How many requests each may have in flight at a proxy.
    pub(crate) max_requests: Option<u32>,
}

/// All that proxies are told beyond their policies.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Standing {
    /// Restrictions, by name; shared with the store, so that neither taking them over nor comparing
    /// them, at every change of the cluster, looks at each identity.
    pub(crate) restrictions: BTreeMap<Arc<str>, Arc<Restriction>>,
    /// The leases of gateways that have one, by identity.
    pub(crate) leases: BTreeMap<Arc<str>, Duration>,
}

impl Restriction {
    /// Reads `restriction`; an identity that cannot be read costs only itself.
    pub(super) fn new(restriction: &api::ClientRestriction) -> Self {
        let spec = &restriction.spec;
        let mut identities = Identities::default();
        for text in &spec.identities {
            let text = text.trim();
            // Certificates have DNS names in lower case; URIs are compared as they are.
            let lower = text.to_ascii_lowercase();
            let name = if text.contains("://") { text } else { &lower };
            if !identities.add(name) {
                tracing::warn!(
                    name = restriction.metadata.name.as_deref().unwrap_or_default(),
                    identity = text,
                    "an identity of a ClientRestriction is neither a name, *.suffix nor *: \
                     nobody is restricted by it"
                );
            }
        }
        Self {
            identities,
            deny: spec.deny,
            max_connections: spec.max_connections,
            max_requests: spec.max_requests,
        }
    }
}

impl Standing {
    /// What follows from the cluster. A gateway with several Services has the shortest lease.
    pub(super) fn of(store: &Store) -> Self {
        let restrictions = store.restrictions.iter();
        let restrictions = restrictions.map(|(key, one)| (key.name.clone(), one.clone()));
        let mut leases = BTreeMap::new();
        for service in store.services.values() {
            let lease = service.gateway_identity.clone().zip(service.export_lease);
            if let Some((gateway, lease)) = lease {
                let shortest = leases.entry(gateway).or_insert(lease);
                *shortest = lease.min(*shortest);
            }
        }
        Self {
            restrictions: restrictions.collect(),
            leases,
        }
    }
}
