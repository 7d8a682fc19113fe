//! The Node object and the Lease that says that the agent is alive.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{Namespace, Node};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use mesh_daemon::readiness::Guard;
use serde_json::{Value, json};

use super::downward::{machine_cpus, machine_memory};
use super::model::{Stamp, now};
use super::status::time;

/// Where the API server looks for the certificate of the server for logs.
const SERVING_CERT: &str = "devcluster.mesh.io/serving-cert";
const LEASE_NAMESPACE: &str = "kube-node-lease";
const LEASE_SECONDS: i32 = 40;
const RENEW_EVERY: Duration = Duration::from_secs(10);
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// The status repeats itself this seldom; the lease is the heartbeat.
const STATUS_EVERY: u32 = 6;
const MAX_PODS: &str = "500";

/// What the Node object says.
pub(super) struct Registration {
    pub(super) client: Client,
    pub(super) node: String,
    pub(super) address: Ipv4Addr,
    pub(super) kubelet_port: u16,
    pub(super) pod_cidr: String,
    /// PEM; the API server trusts exactly this one.
    pub(super) serving_cert: String,
    /// Since when the agent runs.
    pub(super) since: Stamp,
}

impl Registration {
    /// Registers and stays registered. `guard` is dropped once the Node is there.
    pub(super) async fn run(self, guard: Guard) {
        let mut guard = Some(guard);
        let mut rounds = 0_u32;
        loop {
            let status = if rounds.is_multiple_of(STATUS_EVERY) {
                self.register().await
            } else {
                Ok(())
            };
            let pause = match status.and(self.renew().await) {
                Ok(()) => {
                    guard.take();
                    rounds = rounds.wrapping_add(1);
                    RENEW_EVERY
                }
                Err(error) => {
                    tracing::warn!(
                        error = format!("{error:#}"),
                        "cannot register the node, will retry"
                    );
                    rounds = 0;
                    RETRY_EVERY
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn register(&self) -> anyhow::Result<()> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        if nodes
            .get_opt(&self.node)
            .await
            .context("reading the Node")?
            .is_none()
        {
            match nodes.create(&PostParams::default(), &self.fresh()).await {
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                other => {
                    other.context("creating the Node")?;
                }
            }
        }
        let annotations = json!({"metadata": {"annotations": {SERVING_CERT: self.serving_cert}}});
        nodes
            .patch(
                &self.node,
                &PatchParams::default(),
                &Patch::Merge(annotations),
            )
            .await
            .context("publishing the serving certificate")?;
        let status = json!({"status": self.status()});
        nodes
            .patch_status(&self.node, &PatchParams::default(), &Patch::Merge(status))
            .await
            .context("reporting the Node's status")?;
        Ok(())
    }

    fn fresh(&self) -> Node {
        let labels = BTreeMap::from([
            ("kubernetes.io/hostname".to_owned(), self.node.clone()),
            ("kubernetes.io/os".to_owned(), "linux".to_owned()),
            ("kubernetes.io/arch".to_owned(), arch().to_owned()),
        ]);
        let mut node = Node {
            metadata: ObjectMeta {
                name: Some(self.node.clone()),
                labels: Some(labels),
                ..Default::default()
            },
            ..Default::default()
        };
        let spec = node.spec.get_or_insert_default();
        spec.pod_cidr = Some(self.pod_cidr.clone());
        spec.pod_cidrs = Some(vec![self.pod_cidr.clone()]);
        node
    }

    fn status(&self) -> Value {
        let resources = json!({
            "cpu": machine_cpus().to_string(), "memory": machine_memory(), "pods": MAX_PODS});
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let at = time(now());
        json!({
            "addresses": [
                {"type": "InternalIP", "address": self.address.to_string()},
                {"type": "Hostname", "address": self.node},
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self.kubelet_port}},
            "capacity": resources,
            "allocatable": resources,
            "conditions": [{
                "type": "Ready", "status": "True", "reason": "NodeAgentReady",
                "message": "the node agent is running", "lastHeartbeatTime": at,
                "lastTransitionTime": time(self.since),
            }],
            "nodeInfo": {
                "machineID": "", "systemUUID": "", "bootID": "",
                "kernelVersion": kernel.trim(),
                "osImage": "this machine",
                "containerRuntimeVersion": concat!("process://", env!("CARGO_PKG_VERSION")),
                "kubeletVersion": concat!("v1.35.0-mesh.", env!("CARGO_PKG_VERSION")),
                "kubeProxyVersion": "",
                "operatingSystem": "linux",
                "architecture": arch(),
            },
        })
    }

    async fn renew(&self) -> anyhow::Result<()> {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), LEASE_NAMESPACE);
        let renewed = MicroTime(Timestamp::from_millisecond(now()).unwrap_or_default());
        let patch = json!({"spec": {"renewTime": renewed}});
        match leases
            .patch(&self.node, &PatchParams::default(), &Patch::Merge(patch))
            .await
        {
            Ok(_) => return Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error).context("renewing the node's Lease"),
        }
        let namespace = Namespace {
            metadata: ObjectMeta {
                name: Some(LEASE_NAMESPACE.to_owned()),
                ..Default::default()
            },
            ..Default::default()
        };
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        match namespaces.create(&PostParams::default(), &namespace).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(error).context("creating the namespace for Leases"),
        }
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(self.node.clone()),
                namespace: Some(LEASE_NAMESPACE.to_owned()),
                ..Default::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.node.clone()),
                lease_duration_seconds: Some(LEASE_SECONDS),
                renew_time: Some(renewed),
                ..Default::default()
            }),
        };
        leases
            .create(&PostParams::default(), &lease)
            .await
            .context("creating the Lease")?;
        Ok(())
    }
}

/// As Go, and therefore Kubernetes, spells it.
fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
