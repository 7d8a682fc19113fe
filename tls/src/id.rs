//! How a workload is named in its certificate.

use std::{fmt, str::FromStr, sync::Arc};

/// A workload's identity: a DNS name or a URI, as in its certificate's SAN.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Id {
    /// Lower case, without a trailing dot.
    Dns(Arc<str>),
    /// For example `spiffe://…`.
    Uri(Arc<str>),
}

/// Neither a DNS name nor a URI.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is neither a DNS name nor a URI; a workload's identity looks like web.default.serviceaccount.identity.linkerd.cluster.local"
)]
pub struct InvalidId(pub String);

impl Id {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Dns(s) | Self::Uri(s) => s,
        }
    }
}
impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
impl FromStr for Id {
    type Err = InvalidId;
    fn from_str(_s: &str) -> Result<Self, Self::Err> {
        todo!()
    }
}
