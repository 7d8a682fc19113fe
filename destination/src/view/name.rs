//! What proxies ask for: `web.default.svc.cluster.local:80` and its relatives.

use crate::index::{ObjectRef, metadata};
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

/// What a path means when it names no port.
const DEFAULT_PORT: u16 = 80;

/// A path of a question, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Authority {
    /// An address.
    Address(SocketAddr),
    /// A name of this cluster.
    Name(Host, u16),
    /// A name of somewhere else.
    External,
}

/// A name of this cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Host {
    /// The Service.
    pub(crate) service: ObjectRef,
    /// What stands before the Service's name: a pod's hostname, or for a federated Service a
    /// cluster.
    pub(crate) member: Option<Arc<str>>,
}

/// Not something to ask for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not name:port")]
pub(crate) struct InvalidAuthority(String);

impl Authority {
    /// Reads `path`, for a cluster with this DNS domain.
    pub(crate) fn parse(path: &str, domain: &str) -> Result<Self, InvalidAuthority> {
        let invalid = || InvalidAuthority(path.chars().take(300).collect());
        if let Some(address) = address(path) {
            return Some(address)
                .filter(|address| address.port() != 0)
                .map(Self::Address)
                .ok_or_else(invalid);
        }
        let (host, port) = match path.split_once(':') {
            Some((host, port)) => (host, number(port).ok_or_else(invalid)?),
            None => (path, DEFAULT_PORT),
        };
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        if !metadata::is_dns_name(&host) {
            return Err(invalid());
        }
        Ok(match Host::parse(&host, domain) {
            Some(host) => Self::Name(host, port),
            None => Self::External,
        })
    }
}

fn number(port: &str) -> Option<u16> {
    let digits = port.bytes().all(|b| b.is_ascii_digit());
    port.parse().ok().filter(|port| digits && *port != 0)
}

fn address(path: &str) -> Option<SocketAddr> {
    let bare = path.trim_start_matches('[').trim_end_matches(']');
    path.parse()
        .ok()
        .or_else(|| Some(SocketAddr::new(bare.parse::<IpAddr>().ok()?, DEFAULT_PORT)))
}

impl Host {
    fn parse(host: &str, domain: &str) -> Option<Self> {
        let name = host.strip_suffix(domain)?.strip_suffix(".svc.")?;
        let mut labels = name.rsplit('.');
        let (namespace, service) = (labels.next()?, labels.next()?);
        let member = labels.next().map(Arc::from);
        labels.next().is_none().then(|| Self {
            service: ObjectRef::new(namespace, service),
            member,
        })
    }

    /// The full name.
    pub(crate) fn fqdn(&self, domain: &str) -> String {
        let ObjectRef { namespace, name } = &self.service;
        match &self.member {
            Some(member) => format!("{member}.{name}.{namespace}.svc.{domain}"),
            None => format!("{name}.{namespace}.svc.{domain}"),
        }
    }
}

impl From<ObjectRef> for Host {
    fn from(service: ObjectRef) -> Self {
        Self {
            service,
            member: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(path: &str) -> Result<Authority, InvalidAuthority> {
        Authority::parse(path, "cluster.local")
    }

    #[test]
    fn services_and_their_members_are_understood() {
        let web = Host::from(ObjectRef::new("default", "web"));
        assert_eq!(
            parse("web.default.svc.cluster.local:8080"),
            Ok(Authority::Name(web.clone(), 8080))
        );
        assert_eq!(
            parse("Web.default.svc.cluster.local."),
            Ok(Authority::Name(web, 80))
        );
        let member = parse("east.web-federated.default.svc.cluster.local:80").unwrap();
        let Authority::Name(host, 80) = member else {
            panic!("{member:?}")
        };
        assert_eq!(host.member.as_deref(), Some("east"));
        assert_eq!(
            host.fqdn("cluster.local"),
            "east.web-federated.default.svc.cluster.local"
        );
    }

    #[test]
    fn names_of_elsewhere_are_told_apart() {
        for path in [
            "example.com:443",
            "web.default.svc.other.local:80",
            "default.svc.cluster.local:80",
            "a.b.web.default.svc.cluster.local:80",
            "webxsvc.cluster.local:80",
            "svc.cluster.local:80",
        ] {
            assert_eq!(parse(path), Ok(Authority::External), "{path}");
        }
    }

    #[test]
    fn addresses_are_no_names() {
        for (path, address) in [
            ("10.1.2.3:80", "10.1.2.3:80"),
            ("10.1.2.3", "10.1.2.3:80"),
            ("[fd00::1]:8080", "[fd00::1]:8080"),
        ] {
            assert_eq!(
                parse(path),
                Ok(Authority::Address(address.parse().unwrap()))
            );
        }
    }

    #[test]
    fn garbage_is_refused() {
        let long = format!("{}:80", "a.".repeat(200));
        for path in [
            "",
            ":80",
            "web:0",
            "web:65536",
            "web:+80",
            "web:80:80",
            "web..default:80",
            "we b:80",
            "web\n:80",
            "10.0.0.1:0",
            "\"web\":80",
            long.as_str(),
        ] {
            assert!(parse(path).is_err(), "{path}");
        }
    }
}
