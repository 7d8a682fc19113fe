//! Who may use a port of a pod, and what it speaks.

use super::protocol::annotated_opaque;
use crate::{
    index::{
        Authorization, AuthorizationTarget, Identities, IdentityRef, Network, ObjectRef, Pod,
        Reader, Requires, Server,
    },
    policy::DefaultPolicy,
};
use ipnet::IpNet;
use mesh_api::policy::ProxyProtocol;
use std::{collections::BTreeSet, sync::Arc};

/// A question about a port of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct InboundKey {
    /// The pod.
    pub(crate) pod: ObjectRef,
    /// Its port.
    pub(crate) port: u16,
}

/// The policy of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Inbound {
    /// Who set it.
    pub(crate) server: PolicyRef,
    /// What it speaks.
    pub(crate) protocol: InboundProtocol,
    /// Any one is enough; none means nobody but the pod itself.
    pub(crate) admissions: Vec<Admission>,
    /// Paths the kubelet asks for, open to `probe_networks` without an identity.
    pub(crate) probe_paths: BTreeSet<String>,
    /// Where probes come from.
    pub(crate) probe_networks: Vec<Network>,
    /// The pod, whose name policies report.
    pub(crate) pod: ObjectRef,
}

/// Who set a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PolicyRef {
    /// The default of this name.
    Default(&'static str),
    /// A resource of the policy group.
    Resource {
        /// Kind, in lower case as metrics have it.
        kind: &'static str,
        /// Namespace and name.
        object: ObjectRef,
    },
}

/// What a port of a pod speaks.
pub(crate) type InboundProtocol = ProxyProtocol;

/// Clients that are admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Admission {
    /// Who said so.
    pub(crate) by: PolicyRef,
    /// From where. Never empty.
    pub(crate) networks: Vec<Network>,
    /// As whom.
    pub(crate) authn: Authn,
}

/// As whom a client must come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Authn {
    /// Anybody.
    Unauthenticated,
    /// With one of these identities. Never empty.
    Identities(Identities),
}

/// The policy of `key`; none if there is no such pod.
pub(crate) fn inbound(reader: &Reader<'_>, key: &InboundKey) -> Option<Inbound> {
    let pod = reader.pod_to_the_end(&key.pod)?;
    let (server, protocol, admissions) = match reader.server_for(&key.pod.namespace, pod, key.port)
    {
        Some((name, server)) => declared(reader, name, server),
        None => undeclared(reader, &key.pod.namespace, pod, key.port),
    };
    Some(Inbound {
        server,
        protocol,
        admissions,
        probe_paths: pod.probes.get(&key.port).cloned().unwrap_or_default(),
        probe_networks: plain(&reader.config.probe_networks),
        pod: key.pod.clone(),
    })
}

fn declared(
    reader: &Reader<'_>,
    key: &ObjectRef,
    server: &Server,
) -> (PolicyRef, InboundProtocol, Vec<Admission>) {
    let applies = |authorization: &Authorization| match &authorization.target {
        AuthorizationTarget::Server(name) => *name == key.name,
        AuthorizationTarget::Namespace => true,
        AuthorizationTarget::Unknown => false,
    };
    let mut admissions: Vec<_> = reader
        .authorizations(&key.namespace)
        .filter(|(_, authorization)| applies(authorization))
        .filter_map(|(name, authorization)| admission(reader, name, &authorization.requires))
        .collect();
    admissions.extend(by_default(reader, server.access_policy));
    let by = PolicyRef::Resource {
        kind: "server",
        object: key.clone(),
    };
    (by, server.protocol, admissions)
}

fn undeclared(
    reader: &Reader<'_>,
    namespace: &Arc<str>,
    pod: &Pod,
    port: u16,
) -> (PolicyRef, InboundProtocol, Vec<Admission>) {
    let set = pod
        .default_policy
        .or_else(|| reader.namespace(namespace)?.default_policy)
        .unwrap_or(reader.config.default_policy);
    let policy = match pod.require_identity.contains(port) {
        true => set.authenticated(),
        false => set,
    };
    let protocol = match annotated_opaque(reader, namespace, pod, port) {
        true => InboundProtocol::Opaque,
        false => InboundProtocol::Unknown,
    };
    (
        PolicyRef::Default(policy.as_str()),
        protocol,
        by_default(reader, policy).into_iter().collect(),
    )
}

fn by_default(reader: &Reader<'_>, policy: DefaultPolicy) -> Option<Admission> {
    let (authenticated, cluster_only) = match policy {
        DefaultPolicy::Deny => return None,
        DefaultPolicy::Audit => (false, false),
        DefaultPolicy::Allow {
            authenticated,
            cluster_only,
        } => (authenticated, cluster_only),
    };
    let networks = match cluster_only {
        true => plain(&reader.config.cluster_networks),
        false => everywhere(),
    };
    let admission = Admission {
        by: PolicyRef::Default(policy.as_str()),
        networks,
        authn: match authenticated {
            true => Authn::Identities(Identities::any()),
            false => Authn::Unauthenticated,
        },
    };
    Some(admission).filter(|admission| !admission.networks.is_empty())
}

/// What is missing admits nobody: a policy that names an authentication which is not there (yet)
/// must not mean one without it.
fn admission(reader: &Reader<'_>, key: &ObjectRef, requires: &Requires) -> Option<Admission> {
    let Requires::All { identity, network } = requires else {
        return None;
    };
    let authn = match identity {
        None => Authn::Unauthenticated,
        Some(IdentityRef::Identity(identity)) => {
            Authn::Identities(Identities::one(identity.clone()))
        }
        Some(IdentityRef::MeshTls(namespace, name)) => {
            let key = ObjectRef::new(namespace.clone(), name.clone());
            let identities = reader.mesh_tls(&key).filter(|i| !i.is_empty())?;
            Authn::Identities(identities.clone())
        }
    };
    let networks = match network {
        None => everywhere(),
        Some((namespace, name)) => {
            let key = ObjectRef::new(namespace.clone(), name.clone());
            let networks = reader.networks(&key).filter(|n| !n.is_empty())?;
            networks.clone()
        }
    };
    Some(Admission {
        by: PolicyRef::Resource {
            kind: "authorizationpolicy",
            object: key.clone(),
        },
        networks,
        authn,
    })
}

fn everywhere() -> Vec<Network> {
    plain(&[
        IpNet::V4(ipnet::Ipv4Net::default()),
        IpNet::V6(ipnet::Ipv6Net::default()),
    ])
}

fn plain(nets: &[IpNet]) -> Vec<Network> {
    let network = |net: &IpNet| Network {
        net: *net,
        except: vec![],
    };
    nets.iter().map(network).collect()
}
