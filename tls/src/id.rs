//! How a workload is named in its certificate.
//!
//! An [`Id`] is only a name; that a peer bears it is what `Verified` says.

use rcgen::{CertificateParams, DistinguishedName, DnType, SanType};
use rustls_pki_types::DnsName;
use std::{fmt, str::FromStr, sync::Arc};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// A workload's identity: a DNS name or a URI, as in its certificate's SAN.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Id {
    /// Lower case, without a trailing dot.
    Dns(Arc<str>),
    /// For example `spiffe://…`; compared byte by byte.
    Uri(Arc<str>),
}

/// Neither a DNS name nor a URI.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is neither a DNS name nor a URI; a workload's identity looks like web.default.serviceaccount.identity.linkerd.cluster.local"
)]
pub struct InvalidId(pub String);

/// SPIFFE limits its URIs to this.
const MAX_URI: usize = 2048;

impl Id {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Dns(name) | Self::Uri(name) => name,
        }
    }

    /// A certificate or a request for one, which bears this name and no other: as the only SAN, and
    /// where it is a DNS name as CN too.
    pub(crate) fn params(&self) -> Result<CertificateParams, rcgen::Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![match self {
            Self::Dns(name) => {
                params.distinguished_name.push(DnType::CommonName, &**name);
                SanType::DnsName(name.to_string().try_into()?)
            }
            Self::Uri(uri) => SanType::URI(uri.to_string().try_into()?),
        }];
        Ok(params)
    }

    /// Every name of a certificate that can be an identity, in the certificate's order.
    pub(crate) fn all_of(certificate: &[u8]) -> Vec<Self> {
        let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
            return Vec::new();
        };
        let Ok(Some(names)) = certificate.subject_alternative_name() else {
            return Vec::new();
        };
        let id = |name: &GeneralName<'_>| match name {
            GeneralName::DNSName(name) => dns(name),
            GeneralName::URI(name) => uri(name),
            _ => None,
        };
        names.value.general_names.iter().filter_map(id).collect()
    }
}

fn dns(name: &str) -> Option<Id> {
    // A trailing dot makes another name of it, which no certificate of ours bears.
    if name.ends_with('.') {
        return None;
    }
    let name = name.to_ascii_lowercase();
    DnsName::try_from(name.as_str()).ok()?;
    Some(Id::Dns(name.into()))
}

fn uri(name: &str) -> Option<Id> {
    let (scheme, rest) = name.split_once("://")?;
    let scheme_ok = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let rest_ok = !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_graphic());
    (scheme_ok && rest_ok && name.len() <= MAX_URI).then(|| Id::Uri(name.into()))
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Id {
    type Err = InvalidId;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        dns(name)
            .or_else(|| uri(name))
            .ok_or_else(|| InvalidId(name.chars().take(300).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_or_uri() {
        let web: Id = "Web.default.serviceaccount.identity.linkerd.cluster.local"
            .parse()
            .unwrap();
        assert!(matches!(&web, Id::Dns(name) if name.starts_with("web.")));
        let spiffe: Id = "spiffe://cluster.local/ns/default/sa/web".parse().unwrap();
        assert!(matches!(spiffe, Id::Uri(_)));
    }

    #[test]
    fn what_is_neither_is_refused() {
        let long = format!("spiffe://x/{}", "a".repeat(MAX_URI));
        for name in [
            "",
            ".",
            "web.",
            "a b",
            "*.web",
            "10.0.0.1",
            "://x",
            "spiffe://",
            "a..b",
            "http://a b",
            "1x://y",
            long.as_str(),
        ] {
            assert!(name.parse::<Id>().is_err(), "{name}");
        }
    }
}
