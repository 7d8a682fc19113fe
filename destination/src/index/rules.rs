//! What the index keeps of the policy resources.

use crate::config::Config;
use crate::index::metadata;
use crate::policy::DefaultPolicy;
use ipnet::IpNet;
use kube::core::{ObjectMeta, Selector, SelectorExt};
use mesh_api::policy::{self as api, GROUP};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A Server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Server {
    selector: Selector,
    port: api::Port,
    /// What it speaks.
    pub(crate) protocol: api::ProxyProtocol,
    /// For traffic nothing admits.
    pub(crate) access_policy: DefaultPolicy,
    /// The oldest of several that match wins, as a new one must not take a port over.
    pub(crate) created: Option<i64>,
}

/// An AuthorizationPolicy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Authorization {
    /// What it protects.
    pub(crate) target: AuthorizationTarget,
    /// What a client must prove, all of it.
    pub(crate) requires: Requires,
}

/// What an AuthorizationPolicy protects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AuthorizationTarget {
    /// A Server of its namespace.
    Server(Arc<str>),
    /// Every Server of its namespace.
    Namespace,
    /// Something not enforced here, which therefore admits nobody.
    Unknown,
}

/// What an AuthorizationPolicy asks of clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Requires {
    /// Both, where given.
    All {
        /// Identities.
        identity: Option<IdentityRef>,
        /// Networks: namespace and name of a NetworkAuthentication.
        network: Option<(Arc<str>, Arc<str>)>,
    },
    /// Cannot be said in one authorization, or names an unknown kind: admits nobody.
    Nobody,
}

/// Where the identities are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum IdentityRef {
    /// Namespace and name of a MeshTLSAuthentication.
    MeshTls(Arc<str>, Arc<str>),
    /// A ServiceAccount's own.
    Identity(Arc<str>),
}

/// Identities, as a MeshTLSAuthentication states them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Identities {
    /// Exact.
    pub(crate) exact: BTreeSet<Arc<str>>,
    /// Suffixes, by label; the empty one matches every identity.
    pub(crate) suffixes: BTreeSet<Vec<String>>,
}

/// Networks, as a NetworkAuthentication states them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Network {
    /// In.
    pub(crate) net: IpNet,
    /// But not in these.
    pub(crate) except: Vec<IpNet>,
}

impl Server {
    /// Reads `server`; none if its selector or access policy says nothing.
    pub(crate) fn new(server: &api::Server) -> Option<Self> {
        let meta = &server.metadata;
        let selector = Selector::try_from(server.spec.pod_selector.clone())
            .map_err(|error| skip("Server", meta, &error))
            .ok()?;
        let access_policy = match server.spec.access_policy.as_deref() {
            None => DefaultPolicy::Deny,
            Some(text) => text.parse().unwrap_or_else(|error| {
                skip("accessPolicy of Server", meta, &error);
                DefaultPolicy::Deny
            }),
        };
        Some(Self {
            selector,
            port: server.spec.port.clone(),
            protocol: server.spec.proxy_protocol.unwrap_or_default(),
            access_policy,
            created: meta
                .creation_timestamp
                .as_ref()
                .map(|time| time.0.as_second()),
        })
    }

    /// Whether it speaks about `port` of a pod with these labels and named ports.
    pub(crate) fn selects(
        &self,
        labels: &BTreeMap<String, String>,
        named_ports: &BTreeMap<String, u16>,
        port: u16,
    ) -> bool {
        let same_port = match &self.port {
            api::Port::Number(number) => *number == port,
            api::Port::Name(name) => {
                named_ports.get(name) == Some(&port) || name.parse() == Ok(port)
            }
        };
        same_port && self.selector.matches(labels)
    }
}

impl Authorization {
    /// Reads `policy`. What it cannot honour admits nobody, and is said in the log.
    pub(crate) fn new(config: &Config, policy: &api::AuthorizationPolicy) -> Self {
        let meta = &policy.metadata;
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        let target_ref = &policy.spec.target_ref;
        let target = if target_ref.is(GROUP, "Server") {
            AuthorizationTarget::Server(target_ref.name.as_str().into())
        } else if target_ref.is("", "Namespace") && target_ref.name == namespace {
            AuthorizationTarget::Namespace
        } else {
            let problem = "targetRef must be a Server of its namespace, or its Namespace";
            skip("AuthorizationPolicy", meta, &problem);
            AuthorizationTarget::Unknown
        };
        let requires = requires(config, namespace, &policy.spec.required_authentication_refs)
            .unwrap_or_else(|problem| {
                skip("AuthorizationPolicy", meta, &problem);
                Requires::Nobody
            });
        Self { target, requires }
    }
}

fn requires(
    config: &Config,
    own: &str,
    refs: &[api::NamespacedTargetRef],
) -> Result<Requires, &'static str> {
    let (mut identity, mut network) = (None, None);
    for reference in refs {
        let namespace = reference.namespace.as_deref().unwrap_or(own);
        let name: Arc<str> = reference.name.as_str().into();
        let twice = if reference.is(GROUP, "NetworkAuthentication") {
            network.replace((namespace.into(), name)).is_some()
        } else if reference.is(GROUP, "MeshTLSAuthentication") {
            let mesh_tls = IdentityRef::MeshTls(namespace.into(), name);
            identity.replace(mesh_tls).is_some()
        } else if reference.is("", "ServiceAccount") {
            let account = IdentityRef::Identity(config.identity(&name, namespace));
            identity.replace(account).is_some()
        } else {
            return Err(
                "requiredAuthenticationRefs may name a MeshTLSAuthentication, a \
                 NetworkAuthentication or a ServiceAccount",
            );
        };
        if twice {
            return Err(
                "requiredAuthenticationRefs may name one MeshTLSAuthentication or \
                 ServiceAccount and one NetworkAuthentication; use several policies for \
                 alternatives",
            );
        }
    }
    Ok(Requires::All { identity, network })
}

impl Identities {
    /// Every client with an identity.
    pub(crate) fn any() -> Self {
        Self {
            exact: BTreeSet::new(),
            suffixes: BTreeSet::from([vec![]]),
        }
    }

    /// This one only.
    pub(crate) fn one(identity: Arc<str>) -> Self {
        Self {
            exact: BTreeSet::from([identity]),
            suffixes: BTreeSet::new(),
        }
    }

    /// Whether nobody matches.
    pub(crate) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.suffixes.is_empty()
    }

    /// Reads `authn`; an entry that cannot be read costs only itself.
    pub(crate) fn new(config: &Config, authn: &api::MeshTLSAuthentication) -> Self {
        let meta = &authn.metadata;
        let own = meta.namespace.as_deref().unwrap_or_default();
        let mut identities = Self::default();
        for text in authn.spec.identities.iter().flatten() {
            if !identities.add(text.trim()) {
                let problem = format!("identity {text:?} is neither a name, *.suffix nor *");
                skip("entry of MeshTLSAuthentication", meta, &problem);
            }
        }
        for reference in authn.spec.identity_refs.iter().flatten() {
            if reference.is("", "ServiceAccount") {
                let namespace = reference.namespace.as_deref().unwrap_or(own);
                let identity = config.identity(&reference.name, namespace);
                identities.exact.insert(identity);
            } else if reference.is("", "Namespace") {
                let suffix = config.identity("", &reference.name);
                identities.suffixes.insert(parts(&suffix));
            } else {
                let problem = "identityRefs may name a ServiceAccount or a Namespace";
                skip("entry of MeshTLSAuthentication", meta, &problem);
            }
        }
        identities
    }

    /// Takes in a name, `*.suffix` or `*`; `false` if it is none of them.
    pub(super) fn add(&mut self, text: &str) -> bool {
        if text == "*" {
            self.suffixes.insert(vec![])
        } else if let Some(suffix) = text.strip_prefix("*.").filter(|s| metadata::is_dns_name(s)) {
            self.suffixes.insert(parts(suffix))
        } else if metadata::is_dns_name(text) || is_uri(text) {
            self.exact.insert(text.into())
        } else {
            return false;
        };
        true
    }
}

impl Network {
    /// Reads `authn`; none if any of it cannot be read, as leaving out an exception would admit
    /// more than was meant.
    pub(crate) fn all(authn: &api::NetworkAuthentication) -> Option<Vec<Self>> {
        let read = |network: &api::Network| -> Option<Self> {
            let except = network.except.iter().flatten();
            Some(Self {
                net: net(&network.cidr)?,
                except: except.map(|cidr| net(cidr)).collect::<Option<_>>()?,
            })
        };
        let networks: Option<Vec<_>> = authn.spec.networks.iter().map(read).collect();
        if networks.is_none() {
            let problem = "every cidr and except must be an address or a network";
            skip("NetworkAuthentication", &authn.metadata, &problem);
        }
        networks
    }
}

fn net(text: &str) -> Option<IpNet> {
    let text = text.trim();
    text.parse()
        .ok()
        .or_else(|| text.parse().ok().map(|ip: std::net::IpAddr| ip.into()))
}

/// `.ns.serviceaccount` is matched as the labels after the leading dot.
fn parts(suffix: &str) -> Vec<String> {
    suffix
        .trim_matches('.')
        .split('.')
        .map(str::to_owned)
        .collect()
}

fn is_uri(text: &str) -> bool {
    let printable = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '*');
    text.starts_with("spiffe://") && text.chars().all(printable)
}

fn skip(what: &str, meta: &ObjectMeta, problem: &dyn std::fmt::Display) {
    tracing::warn!(
        namespace = meta.namespace.as_deref().unwrap_or(""),
        name = meta.name.as_deref().unwrap_or(""),
        %problem,
        "ignoring {what}: it admits nobody"
    );
}
