//! How workload identities are spelled.

use std::fmt;

/// The identity of a ServiceAccount:
/// `<sa>.<ns>.serviceaccount.identity.<control-plane ns>.<trust domain>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkloadIdentity<'a> {
    /// ServiceAccount.
    pub service_account: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// Namespace of the control plane that issues for it.
    pub control_plane_ns: &'a str,
    /// Trust domain, without a trailing dot.
    pub trust_domain: &'a str,
}

impl fmt::Display for WorkloadIdentity<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}.{}.serviceaccount.identity.{}.{}",
            self.service_account, self.namespace, self.control_plane_ns, self.trust_domain
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_spelled_as_linkerd_spells_it() {
        let id = WorkloadIdentity {
            service_account: "web",
            namespace: "default",
            control_plane_ns: "linkerd",
            trust_domain: "cluster.local",
        };
        assert_eq!(
            id.to_string(),
            "web.default.serviceaccount.identity.linkerd.cluster.local"
        );
    }
}
