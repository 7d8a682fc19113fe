//! The three clusters of the demo: started, installed, linked.

use super::apply::apply;
use crate::{
    check,
    cluster::ClusterArgs,
    multicluster,
    supervise::{Supervisor, slot::Slot},
    workload::Workload,
};
use anyhow::{Context as _, bail, ensure};
use clap::Parser as _;
use futures::future::try_join_all;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Pod, Service},
};
use kube::{Api, Client, ResourceExt as _, api::ListParams};
use mesh_contract::{annotations, names};
use mesh_install::{multicluster as extension, values::Values};
use mesh_tls::ca;
use serde_json::json;
use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// The clusters, the preferred one first.
pub(super) const CLUSTERS: [&str; 3] = ["west", "east", "north"];

const WEB: &str = include_str!("../../../examples/demo/web.yaml");
const CLIENT: &str = include_str!("../../../examples/demo/client.yaml");

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long any one step of the set-up may take.
const STEP_TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

/// One cluster on this machine.
#[derive(Clone)]
struct Cluster {
    name: &'static str,
    kubeconfig: PathBuf,
    client: Client,
}

/// The clusters and what is known of them.
pub(super) struct World {
    clusters: Vec<Cluster>,
    /// Address of the client pod in west.
    pub(super) client_ip: IpAddr,
}

/// Flags of commands, defaulted as the command line defaults them.
#[derive(clap::Parser)]
struct Flags<T: clap::Args> {
    #[command(flatten)]
    args: T,
}

fn flags<T: clap::Args>(given: &[&str]) -> anyhow::Result<T> {
    let given = std::iter::once("mesh").chain(given.iter().copied());
    Ok(Flags::<T>::try_parse_from(given)?.args)
}

impl World {
    /// Starts the clusters, installs the control planes, and applies the demo's manifests.
    pub(super) async fn start(
        supervisor: &Supervisor,
        say: &impl Fn(&str),
    ) -> anyhow::Result<Self> {
        let anchor = ca::Anchor::generate("root.linkerd.cluster.local", DAY)?;
        say("made a trust anchor; starting the clusters west, east and north");
        let mut clusters = Vec::new();
        for (index, name) in CLUSTERS.into_iter().enumerate() {
            spawn_apiserver(supervisor, name, Layout::of(index)?)?;
        }
        for (index, name) in CLUSTERS.into_iter().enumerate() {
            clusters.push(connect(supervisor, name).await?);
            spawn_node_agent(supervisor, name, Layout::of(index)?)?;
        }
        try_join_all(clusters.iter().map(|cluster| set_up(cluster, &anchor))).await?;
        say("control planes, gateways and service mirrors are installed");
        try_join_all(clusters.iter().map(deploy)).await?;
        try_join_all(clusters.iter().map(all_ready)).await?;
        say("web runs in all three clusters, and a client in west");
        let client_ip = pod_ip(&clusters[0].client, "default", "client").await?;
        Ok(Self {
            clusters,
            client_ip,
        })
    }

    /// Links east and north into west, as `mesh multicluster link` does it.
    pub(super) async fn link(&self, say: &impl Fn(&str)) -> anyhow::Result<()> {
        let west = self.cluster("west")?;
        for name in ["east", "north"] {
            let remote = self.cluster_args(name)?;
            let args = flags(&["--cluster-name", name])?;
            let documents = multicluster::link::manifests(&args, &remote).await?;
            apply(&west.client, &documents).await?;
        }
        say("east and north are linked into west");
        Ok(())
    }

    /// Waits for the imported Services; their names and cluster IPs.
    pub(super) async fn imported(&self) -> anyhow::Result<Vec<(String, String)>> {
        let west = self.cluster("west")?;
        let api: Api<Service> = Api::namespaced(west.client.clone(), "default");
        let mut found = Vec::new();
        for name in ["web-east", "web-north", "web-federated"] {
            let service = eventually(&format!("the Service {name} in west"), || async {
                Ok(api.get_opt(name).await?)
            })
            .await?;
            let ip = service
                .spec
                .and_then(|spec| spec.cluster_ip)
                .unwrap_or_default();
            found.push((name.to_owned(), ip));
        }
        Ok(found)
    }

    /// Waits until every gateway was probed and answered.
    pub(super) async fn gateways(&self) -> anyhow::Result<Vec<multicluster::gateways::Row>> {
        let client = self.client("west")?;
        eventually("every gateway to answer its probe", || async {
            let rows = multicluster::gateways::rows(&client, names::MULTICLUSTER_NS).await?;
            let alive = rows.len() == 2 && rows.iter().all(|row| row.alive);
            Ok(alive.then_some(rows))
        })
        .await
    }

    /// A client of the cluster `name`.
    pub(super) fn client(&self, name: &str) -> anyhow::Result<Client> {
        Ok(self.cluster(name)?.client.clone())
    }

    /// Where linked clusters reach the gateway of `name`.
    pub(super) async fn gateway(&self, name: &str) -> anyhow::Result<SocketAddr> {
        gateway_address(&self.client(name)?)
            .await?
            .with_context(|| format!("the gateway of {name} has no address"))
    }

    /// A certificate of the ServiceAccount `namespace/account` in the cluster `name`.
    pub(super) async fn workload(
        &self,
        name: &str,
        namespace: &str,
        account: &str,
    ) -> anyhow::Result<Workload> {
        let client = self.client(name)?;
        Workload::certify(&client, names::CONTROL_PLANE_NS, namespace, account).await
    }

    /// The kubeconfig of the cluster `name`.
    pub(super) fn kubeconfig(&self, name: &str) -> anyhow::Result<&Path> {
        Ok(&self.cluster(name)?.kubeconfig)
    }

    fn cluster(&self, name: &str) -> anyhow::Result<&Cluster> {
        self.clusters
            .iter()
            .find(|cluster| cluster.name == name)
            .with_context(|| format!("no cluster is called {name}"))
    }

    fn cluster_args(&self, name: &str) -> anyhow::Result<ClusterArgs> {
        let path = self.cluster(name)?.kubeconfig.display().to_string();
        flags(&["--kubeconfig", &path])
    }
}

/// Which of the slot's /24 networks a cluster has: four for pods, four for cluster IPs, one for load
/// balancers, and one for the API server and the node.
#[derive(Clone, Copy)]
struct Layout(u8);

impl Layout {
    fn of(index: usize) -> anyhow::Result<Self> {
        Ok(Self(u8::try_from(index)? * 16 + 16))
    }

    fn pods(self, slot: &Slot) -> String {
        format!("{}/22", slot.address(self.0, 0))
    }

    fn services(self, slot: &Slot) -> String {
        format!("{}/22", slot.address(self.0 + 4, 0))
    }

    fn load_balancers(self, slot: &Slot) -> String {
        format!("{}/24", slot.address(self.0 + 8, 0))
    }

    fn apiserver(self, slot: &Slot) -> String {
        format!("{}:6443", slot.address(self.0 + 9, 1))
    }

    fn node(self, slot: &Slot) -> String {
        slot.address(self.0 + 9, 2).to_string()
    }
}

fn flag(name: &str, value: impl std::fmt::Display) -> String {
    format!("--{name}={value}")
}

fn spawn_apiserver(supervisor: &Supervisor, name: &str, layout: Layout) -> anyhow::Result<()> {
    let slot = supervisor.slot();
    supervisor.spawn(
        &format!("{name}/apiserver"),
        &[
            "apiserver".to_owned(),
            flag("cluster-name", name),
            flag("listen", layout.apiserver(slot)),
            flag("state-dir", state_dir(slot, name).display()),
            flag("pod-cidr", layout.pods(slot)),
            flag("service-cidr", layout.services(slot)),
        ],
    )
}

fn spawn_node_agent(supervisor: &Supervisor, name: &str, layout: Layout) -> anyhow::Result<()> {
    let slot = supervisor.slot();
    supervisor.spawn(
        &format!("{name}/node-agent"),
        &[
            "node-agent".to_owned(),
            flag("cluster-name", name),
            flag("kubeconfig", kubeconfig_path(slot, name).display()),
            flag("state-dir", state_dir(slot, name).join("node").display()),
            flag("node-ip", layout.node(slot)),
            flag("pod-cidr", layout.pods(slot)),
            flag("lb-cidr", layout.load_balancers(slot)),
            flag("run-id", slot.run_id()),
        ],
    )
}

fn state_dir(slot: &Slot, name: &str) -> PathBuf {
    slot.dir().join(name)
}

fn kubeconfig_path(slot: &Slot, name: &str) -> PathBuf {
    state_dir(slot, name).join("admin.kubeconfig")
}

async fn connect(supervisor: &Supervisor, name: &'static str) -> anyhow::Result<Cluster> {
    let kubeconfig = kubeconfig_path(supervisor.slot(), name);
    eventually(&format!("the API server of {name}"), || async {
        if !kubeconfig.exists() {
            return Ok(None);
        }
        let path = kubeconfig.display().to_string();
        let args: ClusterArgs = flags(&["--kubeconfig", &path])?;
        let client = args.client().await?;
        let ready = client.apiserver_version().await.is_ok();
        Ok(ready.then(|| Cluster {
            name,
            kubeconfig: kubeconfig.clone(),
            client,
        }))
    })
    .await
}

/// Installs the control plane with an issuer of its own, and, once pods are injected, the
/// multicluster extension.
async fn set_up(cluster: &Cluster, anchor: &ca::Anchor) -> anyhow::Result<()> {
    let issuer = anchor.issuer(&format!("identity.linkerd.{}", cluster.name), DAY)?;
    let mut values = Values {
        // The loopback network is where pods are on this machine.
        cluster_networks: "127.0.0.0/8".to_owned(),
        identity_trust_anchors_pem: anchor.cert_pem(),
        // Pods are processes of this machine: nothing may redirect its traffic.
        cni_enabled: true,
        ..Values::default()
    };
    values.identity.issuer.tls.crt_pem = issuer.cert_pem();
    values.identity.issuer.tls.key_pem = issuer.key_pem();
    apply(
        &cluster.client,
        &mesh_install::manifests(&values, names::CONTROL_PLANE_NS)?,
    )
    .await?;
    // Before, pods would be made without a sidecar.
    let what = format!("the proxy injector of {}", cluster.name);
    eventually(&what, || async {
        check::injects(&cluster.client).await.map(Some)
    })
    .await?;
    let shared = extension::from_control_plane(&values, names::CONTROL_PLANE_NS);
    let mut extension_values: extension::Values = serde_json::from_value(shared)?;
    extension_values.gateway.probe.seconds = 1;
    let documents = extension::manifests(&extension_values, &values, names::MULTICLUSTER_NS)?;
    apply(&cluster.client, &documents).await
}

/// Applies the demo's manifests to a namespace whose pods are injected.
async fn deploy(cluster: &Cluster) -> anyhow::Result<()> {
    let namespace = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": { "name": "default", "annotations": { annotations::INJECT: "enabled" } },
    });
    let name = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": "cluster", "namespace": "default" },
        "data": { "name": cluster.name },
    });
    let mut documents = vec![namespace, name];
    documents.extend(mesh_injector::manifest::parse(WEB)?);
    if cluster.name == CLUSTERS[0] {
        documents.extend(mesh_injector::manifest::parse(CLIENT)?);
    }
    apply(&cluster.client, &documents).await
}

/// Waits until every Deployment is available, every pod ready, and the gateway has its address.
async fn all_ready(cluster: &Cluster) -> anyhow::Result<()> {
    let deployments: Api<Deployment> = Api::all(cluster.client.clone());
    let pods: Api<Pod> = Api::all(cluster.client.clone());
    eventually(
        &format!("every pod of {} to be ready", cluster.name),
        || async {
            let deployments = deployments.list(&ListParams::default()).await?;
            let pods = pods.list(&ListParams::default()).await?;
            let waiting: Vec<_> = deployments
                .iter()
                .filter(|d| {
                    let available = d.status.as_ref().and_then(|s| s.available_replicas);
                    available.is_none_or(|n| n < 1)
                })
                .map(|d| format!("deployment/{}", d.name_any()))
                .chain(
                    pods.iter()
                        .filter(|p| !is_ready(p))
                        .map(|p| format!("pod/{}", p.name_any())),
                )
                .collect();
            ensure!(waiting.is_empty(), "not ready: {}", waiting.join(", "));
            let gateway = gateway_address(&cluster.client).await?.is_some();
            ensure!(
                gateway && !pods.items.is_empty(),
                "the gateway has no address yet"
            );
            Ok(Some(()))
        },
    )
    .await
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
}

async fn gateway_address(client: &Client) -> anyhow::Result<Option<SocketAddr>> {
    let api: Api<Service> = Api::namespaced(client.clone(), names::MULTICLUSTER_NS);
    let Some(service) = api.get_opt(names::GATEWAY).await? else {
        return Ok(None);
    };
    let ingress = service
        .status
        .and_then(|s| s.load_balancer)
        .and_then(|lb| lb.ingress);
    let ip = ingress
        .unwrap_or_default()
        .into_iter()
        .find_map(|entry| entry.ip);
    match ip {
        Some(ip) => Ok(Some(SocketAddr::new(
            ip.parse()?,
            mesh_contract::ports::INBOUND,
        ))),
        None => Ok(None),
    }
}

async fn pod_ip(client: &Client, namespace: &str, name: &str) -> anyhow::Result<IpAddr> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let pod = api.get(name).await?;
    let ip = pod.status.and_then(|status| status.pod_ip);
    let ip = ip.with_context(|| format!("the pod {namespace}/{name} has no address"))?;
    Ok(ip.parse()?)
}

/// Asks again and again until there is an answer, for a bounded time. An error counts as "not
/// yet"; the last one is the reason given at the end.
async fn eventually<T, F>(what: &str, mut ask: impl FnMut() -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<Option<T>>>,
{
    let deadline = Instant::now() + STEP_TIMEOUT;
    let mut last = None;
    loop {
        match ask().await {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => {}
            Err(error) => last = Some(error),
        }
        if Instant::now() >= deadline {
            match last {
                Some(error) => return Err(error.context(format!("waited in vain for {what}"))),
                None => bail!("waited {STEP_TIMEOUT:?} in vain for {what}"),
            }
        }
        tokio::time::sleep(POLL).await;
    }
}
