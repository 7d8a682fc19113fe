//! The `netns` network: pods are network namespaces, each with a cable to this machine. Needs root.
//!
//! ```text
//!   pod ── cable ──┐
//!   pod ── cable ──┤ this machine: rules, routes, the hub with the node's address
//!   pod ── cable ──┘
//! ```
//!
//! A pod has its address alone (/32) and sends everything to the node, so that the machine's rules
//! (`rules.rs`) see every packet: they translate cluster IPs and keep clusters apart but for what
//! is declared. Pods are not on a bridge: whether its packets meet the rules depends on a setting
//! of the whole machine (br_netfilter). Load balancers are listeners of this agent at addresses of
//! the hub, `dns.rs` answers names at the node's address, and `relay.rs` leads from there to the API
//! server.
//!
//! Pods outlive their agent, so nothing here ends with it. What dead clusters left behind the next
//! agent on the machine removes (`registry.rs`).

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipnet::Ipv4Net;
use parking_lot::Mutex;
use tokio::task::JoinSet;

pub use self::ending::end_run;
use self::names::Names;
use self::registry::{Claim, Entry};
use self::rules::{Frame, Wanted};
use self::tools::{ip, ip_batch, nft, set};
use super::View;
use crate::node::disk::plain;
use crate::node::model::PodRecord;
use crate::node::room;

mod dns;
mod ending;
mod memory;
mod names;
mod registry;
mod relay;
mod rules;
mod tools;

pub(in crate::node) use self::registry::RegistryError;
pub(in crate::node) use self::tools::ToolError;

/// Where pods reach the API server, at the node's address.
pub(in crate::node) const API_PORT: u16 = 6443;
/// And as whom: a name that every API server's certificate has, and few clients use.
pub(in crate::node) const API_NAME: &str = "kubernetes.default";
const DNS_PORT: u16 = 53;

/// What the network is made of.
#[derive(Clone, Debug)]
pub(in crate::node) struct Settings {
    pub(in crate::node) state_dir: PathBuf,
    pub(in crate::node) pods: Ipv4Net,
    pub(in crate::node) balancers: Ipv4Net,
    pub(in crate::node) node: Ipv4Addr,
    pub(in crate::node) flat: bool,
    pub(in crate::node) domain: String,
    /// The API server as this machine reaches it.
    pub(in crate::node) api: (String, u16),
}

/// Why the network cannot be set up.
#[derive(Debug, thiserror::Error)]
pub(in crate::node) enum SetupError {
    #[error(
        "the netns network needs root: run the node agent with sudo, or use --network loopback"
    )]
    NotRoot,
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Tool(#[from] ToolError),
}

/// One cluster's network.
#[derive(Debug)]
pub(in crate::node) struct Netns {
    settings: Settings,
    frame: Frame,
    /// What the machine was last told.
    applied: Mutex<Option<Wanted>>,
    names: dns::Names,
    /// Holds the names on this machine for as long as the agent lives.
    _claim: Claim,
}

impl Netns {
    /// Makes the hub, or finds it. `keep`: pods an earlier agent left; what others had is removed,
    /// and so is everything of clusters that are dead.
    pub(in crate::node) fn set_up(
        settings: Settings,
        keep: &[PodRecord],
    ) -> Result<Self, SetupError> {
        if !rustix::process::geteuid().is_root() {
            return Err(SetupError::NotRoot);
        }
        let names = Names::of(&settings.state_dir);
        let entry = Entry {
            state_dir: settings.state_dir.clone(),
            pods: settings.pods,
            balancers: settings.balancers,
        };
        let claim = registry::claim(&names, &entry)?;
        for pod in names.namespaces() {
            if !keep.iter().any(|record| record.ip == Some(pod)) {
                remove_pod(&names, pod);
            }
        }
        memory::remove_all_but(&names.memory(), |uid| keep.iter().any(|r| r.uid == uid));
        hub(&names, &settings)?;
        let frame = Frame {
            names,
            node: settings.node,
            flat: settings.flat,
        };
        // Closed before the first pod is there.
        nft(&rules::script(&frame, &Wanted::default()))?;
        Ok(Self {
            names: dns::Names::new(&settings.domain),
            settings,
            frame,
            applied: Mutex::default(),
            _claim: claim,
        })
    }

    /// Serves names and the API server at the node's address; ends only when it fails.
    pub(in crate::node) async fn serve(self: Arc<Self>) -> io::Result<()> {
        let mut tasks = JoinSet::new();
        let at = |port| SocketAddr::new(self.settings.node.into(), port);
        let dns = dns::Server::bind(at(DNS_PORT), self.names.clone()).await?;
        tasks.spawn(dns.run());
        let relay = relay::Relay::bind(at(API_PORT), self.settings.api.clone()).await?;
        tasks.spawn(relay.run());
        match tasks.join_next().await {
            Some(Ok(ended)) => ended,
            _ => Err(io::Error::other("a server of the network failed")),
        }
    }

    /// A pod's namespace with its address; does nothing where it is there already, or where the pod
    /// is in the machine's own network.
    pub(in crate::node) fn attach(&self, pod: Ipv4Addr) -> Result<(), ToolError> {
        if pod == self.frame.node {
            return Ok(());
        }
        let names = &self.frame.names;
        let file = names.namespace_file(pod);
        if file.exists() {
            return Ok(());
        }
        let made = self.make(pod, &file);
        if made.is_err() {
            remove_pod(names, pod);
        }
        made
    }

    fn make(&self, pod: Ipv4Addr, file: &Path) -> Result<(), ToolError> {
        let names = &self.frame.names;
        let (namespace, cable, node) = (names.namespace(pod), names.cable(pod), self.frame.node);
        ip(&format!("netns add {namespace}"))?;
        ip_batch(
            None,
            &[
                format!("link add {cable} type veth peer name eth0 netns {namespace}"),
                format!("link set {cable} up"),
                format!("route add {pod}/32 dev {cable} src {node}"),
            ],
        )?;
        // The cables alone forward: the machine's other devices are left as they are.
        set(&format!("conf/{cable}/forwarding"), "1")?;
        ip_batch(
            Some(&namespace),
            &[
                "link set lo up".to_owned(),
                format!("addr add {pod}/32 dev eth0"),
                "link set eth0 up".to_owned(),
                format!("route add {node}/32 dev eth0 scope link"),
                format!("route add default via {node} dev eth0 onlink"),
            ],
        )?;
        // As container runtimes have it: port 80 is nobody's privilege in a pod.
        let tuned = room::in_network(file, || Ok(set("ip_unprivileged_port_start", "0")));
        tuned.map_err(|source| ToolError::Setting {
            key: file.display().to_string(),
            source,
        })?
    }

    /// Removes a pod's namespace.
    pub(in crate::node) fn detach(&self, pod: Ipv4Addr) {
        if pod != self.frame.node {
            remove_pod(&self.frame.names, pod);
        }
    }

    /// A volume in memory of at most `limit` bytes; the one that is there, if there is one. Returns
    /// where it is mounted.
    pub(in crate::node) fn memory(
        &self,
        uid: &str,
        volume: &str,
        limit: Option<u64>,
    ) -> io::Result<PathBuf> {
        let pod = self.frame.names.memory().join(plain(uid)?);
        let at = pod.join(plain(volume)?);
        memory::make(&at, limit)?;
        Ok(at)
    }

    /// Gives back what a pod's volumes in memory take.
    pub(in crate::node) fn forget_memory(&self, uid: &str) {
        if let Ok(uid) = plain(uid) {
            memory::remove(&self.frame.names.memory().join(uid));
        }
    }

    /// The file of a pod's namespace; `None` if the pod is in the machine's own network.
    pub(in crate::node) fn namespace(&self, pod: Ipv4Addr) -> Option<PathBuf> {
        (pod != self.frame.node).then(|| self.frame.names.namespace_file(pod))
    }

    /// The pods' resolver configuration.
    pub(in crate::node) fn resolv_conf(&self, pod_namespace: &str) -> String {
        let domain = &self.settings.domain;
        format!(
            "search {pod_namespace}.svc.{domain} svc.{domain} {domain}\nnameserver {}\noptions ndots:5\n",
            self.frame.node
        )
    }

    /// Whether load balancers of this cluster may have the address.
    pub(super) fn is_balancer(&self, address: IpAddr) -> bool {
        matches!(address, IpAddr::V4(ip) if self.settings.balancers.contains(&ip))
    }

    /// Makes the machine do what the cluster asks for. `balancers`: where load balancers listen.
    pub(super) fn apply(&self, view: &View, balancers: &BTreeSet<SocketAddrV4>) {
        self.names.replace(view);
        let wanted = Wanted {
            services: rules::services(view, self.frame.node),
            balancers: balancers.clone(),
        };
        let mut applied = self.applied.lock();
        if applied.as_ref() == Some(&wanted) {
            return;
        }
        let changed = self
            .balance(applied.as_ref(), balancers)
            .and_then(|()| nft(&rules::script(&self.frame, &wanted)));
        match changed {
            Ok(()) => *applied = Some(wanted),
            Err(error) => {
                tracing::error!(%error, "cannot change the network's rules; cluster IPs are out of date");
            }
        }
    }

    /// Gives the hub the addresses load balancers listen at, and takes back the others.
    fn balance(
        &self,
        before: Option<&Wanted>,
        after: &BTreeSet<SocketAddrV4>,
    ) -> Result<(), ToolError> {
        let hub = self.frame.names.hub();
        let after: BTreeSet<Ipv4Addr> = after.iter().map(|a| *a.ip()).collect();
        let before: BTreeSet<Ipv4Addr> = match before {
            Some(wanted) => wanted.balancers.iter().map(|a| *a.ip()).collect(),
            // What an earlier agent left.
            None => addresses(&ip(&format!("-4 -o addr show dev {hub}"))?)
                .filter(|address| *address != self.frame.node)
                .collect(),
        };
        for gone in before.difference(&after) {
            ip(&format!("addr del {gone}/32 dev {hub}"))?;
        }
        for new in after.difference(&before) {
            ip(&format!("addr replace {new}/32 dev {hub}"))?;
        }
        Ok(())
    }
}

/// The addresses in what `ip -o addr` prints.
fn addresses(shown: &str) -> impl Iterator<Item = Ipv4Addr> {
    let words = shown.lines().filter_map(|line| line.split(" inet ").nth(1));
    words.filter_map(|rest| rest.split(['/', ' ']).next()?.parse().ok())
}

/// The cluster's hub with the node's address, as it was or made anew: a bridge without ports, the
/// kind of device without an other end that kernels have most surely.
fn hub(names: &Names, settings: &Settings) -> Result<(), ToolError> {
    let hub = names.hub();
    if !Path::new("/sys/class/net").join(&hub).exists() {
        ip(&format!("link add {hub} type bridge"))?;
    }
    ip(&format!("addr replace {}/32 dev {hub}", settings.node))?;
    ip(&format!("link set {hub} up"))?;
    // Pods that are no more are told of at once, instead of being looked for elsewhere.
    ip(&format!("route replace unreachable {}", settings.pods)).map(drop)
}

fn remove_pod(names: &Names, pod: Ipv4Addr) {
    // The cable first: a process that lingers keeps its namespace, but not its address.
    let cable = names.cable(pod);
    if Path::new("/sys/class/net").join(&cable).exists()
        && let Err(error) = ip(&format!("link del {cable}"))
    {
        tracing::warn!(%pod, %error, "cannot remove a pod's cable");
    }
    if names.namespace_file(pod).exists()
        && let Err(error) = ip(&format!("netns del {}", names.namespace(pod)))
    {
        tracing::warn!(%pod, %error, "cannot remove a pod's network namespace");
    }
}

/// Removes everything of a cluster from this machine.
fn remove_cluster(names: &Names, entry: &Entry) {
    for pod in names.namespaces() {
        remove_pod(names, pod);
    }
    memory::remove_all_but(&names.memory(), |_| false);
    let hub = names.hub();
    if Path::new("/sys/class/net").join(&hub).exists()
        && let Err(error) = ip(&format!("link del {hub}"))
    {
        tracing::warn!(hub, %error, "cannot remove a dead cluster's hub");
    }
    // Not there if the cluster died before it was.
    let _gone_already = ip(&format!("route del unreachable {}", entry.pods));
    if let Err(error) = nft(&rules::none(names)) {
        tracing::warn!(hub, %error, "cannot remove a dead cluster's rules");
    }
}

/// Removes what dead clusters left on this machine; what the start of any agent does too.
pub fn sweep() -> anyhow::Result<()> {
    Ok(registry::sweep()?)
}
