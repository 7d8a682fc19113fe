//! What matters of another cluster's pod: who its sidecar is, and where it listens.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use kube::ResourceExt as _;
use mesh_contract::{env, identity::WorkloadIdentity, labels, names, ports};

/// The sidecar of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sidecar {
    service_account: String,
    control_plane_ns: String,
    /// Where it takes connections with a transport header.
    pub(crate) inbound_port: u16,
}

impl Sidecar {
    /// The sidecar of `pod`; none where it has none, or takes nothing any more.
    pub(crate) fn of(pod: &Pod) -> Option<Self> {
        let spec = pod.spec.as_ref()?;
        let proxy = containers(spec).find(|container| container.name == names::PROXY_CONTAINER)?;
        if pod.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let account = spec.service_account_name.as_deref();
        let account = account.filter(|name| !name.is_empty());
        Some(Self {
            service_account: account.unwrap_or("default").to_owned(),
            control_plane_ns: pod.labels().get(labels::CONTROL_PLANE_NS)?.clone(),
            inbound_port: inbound_port(proxy).unwrap_or(ports::INBOUND),
        })
    }

    /// The identity it proves, in a cluster of this trust domain.
    pub(crate) fn identity(&self, namespace: &str, trust_domain: &str) -> String {
        let identity = WorkloadIdentity {
            service_account: &self.service_account,
            namespace,
            control_plane_ns: &self.control_plane_ns,
            trust_domain,
        };
        identity.to_string()
    }
}

/// Containers that run beside each other: the ordinary ones, and init containers that stay.
fn containers(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    let stays = |c: &&Container| c.restart_policy.as_deref() == Some("Always");
    let init = spec.init_containers.iter().flatten().filter(stays);
    init.chain(&spec.containers)
}

fn inbound_port(proxy: &Container) -> Option<u16> {
    let name = format!("{}INBOUND_LISTEN_ADDR", env::PREFIX);
    let var = proxy.env.iter().flatten().find(|var| var.name == name)?;
    let (_, port) = var.value.as_deref()?.rsplit_once(':')?;
    port.parse().ok().filter(|port| *port != 0)
}
