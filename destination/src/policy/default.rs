//! The policy of ports that no Server selects.

use std::{fmt, str::FromStr};

/// Who may use a port nothing was said about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DefaultPolicy {
    /// Nobody.
    Deny,
    /// Everybody, and each use by somebody unauthorised is logged.
    Audit,
    /// Some.
    Allow {
        /// Only clients with a mesh identity.
        authenticated: bool,
        /// Only clients from the cluster's networks.
        cluster_only: bool,
    },
}

/// Not the name of a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no inbound policy; use all-unauthenticated, all-authenticated, \
     cluster-unauthenticated, cluster-authenticated, deny or audit"
)]
pub struct InvalidDefaultPolicy(pub String);

impl DefaultPolicy {
    /// The same policy, but never for clients without an identity.
    pub fn authenticated(self) -> Self {
        match self {
            Self::Deny => Self::Deny,
            Self::Audit => Self::Allow {
                authenticated: true,
                cluster_only: false,
            },
            Self::Allow { cluster_only, .. } => Self::Allow {
                authenticated: true,
                cluster_only,
            },
        }
    }

    /// The public name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Audit => "audit",
            Self::Allow {
                authenticated: false,
                cluster_only: false,
            } => "all-unauthenticated",
            Self::Allow {
                authenticated: true,
                cluster_only: false,
            } => "all-authenticated",
            Self::Allow {
                authenticated: false,
                cluster_only: true,
            } => "cluster-unauthenticated",
            Self::Allow {
                authenticated: true,
                cluster_only: true,
            } => "cluster-authenticated",
        }
    }
}

impl fmt::Display for DefaultPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for DefaultPolicy {
    type Err = InvalidDefaultPolicy;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allow = |authenticated, cluster_only| Self::Allow {
            authenticated,
            cluster_only,
        };
        match text.trim() {
            "deny" => Ok(Self::Deny),
            "audit" => Ok(Self::Audit),
            "all-unauthenticated" => Ok(allow(false, false)),
            "all-authenticated" => Ok(allow(true, false)),
            "cluster-unauthenticated" => Ok(allow(false, true)),
            "cluster-authenticated" => Ok(allow(true, true)),
            other => Err(InvalidDefaultPolicy(other.to_owned())),
        }
    }
}
