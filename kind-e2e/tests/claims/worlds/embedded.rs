//! Clusters of `mesh apiserver` and `mesh node-agent`: no privileges, nothing but kubectl.

use super::daemon::Daemon;
use super::local::{Node, RUN, Slot, memory};
use super::{CLUSTERS, Machine, Missing};
use rustix::process::Signal;
use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Held by whoever uses a slot.
const CLAIM: u16 = 20_030;
const PATIENCE: Duration = Duration::from_secs(60);
/// The port of API servers.
const API: u16 = 6443;

/// Three of them, in 127.N.0.0/16.
pub struct Embedded {
    clusters: Vec<Cluster>,
    mesh: PathBuf,
    _slot: Slot,
}

struct Cluster {
    name: &'static str,
    dir: PathBuf,
    apiserver: Daemon,
    /// Where that listens.
    address: SocketAddr,
    node: Node,
}

/// What keeps them from being made here.
pub fn missing() -> Option<Missing> {
    let error = kind_e2e::assets::kubectl().err()?;
    Some(Missing {
        why: error.to_string(),
        fatal: kind_e2e::required(),
    })
}

impl Embedded {
    /// Starts them.
    pub fn boot(dir: &Path, mesh: &Path) -> Self {
        let slot = Slot::claim(CLAIM);
        let second = 121 + slot.number;
        let mut servers: Vec<_> = CLUSTERS
            .into_iter()
            .zip(0..)
            .map(|(name, index)| {
                let (dir, net) = (dir.join(name), Layout(second, index));
                (name, apiserver(mesh, name, &dir, net), dir, net)
            })
            .collect();
        for (_, server, dir, _) in &mut servers {
            let kubeconfig = kubeconfig(dir);
            wait(server, &kubeconfig.display(), || kubeconfig.exists());
        }
        let clusters = servers.into_iter().map(|(name, apiserver, dir, net)| {
            let flags = [
                format!("--node-ip={}", net.address(9, 2)),
                format!("--pod-cidr={}/22", net.address(0, 0)),
                format!("--lb-cidr={}/24", net.address(8, 0)),
            ];
            Cluster {
                node: Node::start(mesh, name, &dir, &kubeconfig(&dir), &flags),
                name,
                apiserver,
                address: (net.address(9, 1), API).into(),
                dir,
            }
        });
        Self {
            clusters: clusters.collect(),
            mesh: mesh.to_owned(),
            _slot: slot,
        }
    }

    fn cluster(&mut self, name: &str) -> &mut Cluster {
        self.clusters.iter_mut().find(|c| c.name == name).unwrap()
    }
}

/// Waits for what a daemon makes while it starts.
fn wait(daemon: &mut Daemon, what: &dyn Display, is_there: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_there() {
        daemon.check();
        assert!(Instant::now() < deadline, "no {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Cluster {
    /// Starts the API server again; returns when it listens.
    fn start_apiserver(&mut self) {
        self.apiserver.restart();
        let address = self.address;
        let listens = || TcpStream::connect(address).is_ok();
        wait(&mut self.apiserver, &address, listens);
    }

    /// What its API server keeps everything in.
    fn journal(&self) -> PathBuf {
        self.dir.join("store.journal")
    }

    fn backup(&self) -> PathBuf {
        self.dir.join("backup.journal")
    }
}

fn kubeconfig(dir: &Path) -> PathBuf {
    dir.join("admin.kubeconfig")
}

/// The part of the slot that a cluster has: /22 for pods, /22 for cluster IPs, /24 for load
/// balancers, /24 for API server and node.
#[derive(Clone, Copy)]
struct Layout(u8, u8);

impl Layout {
    fn address(self, third: u8, fourth: u8) -> Ipv4Addr {
        Ipv4Addr::new(127, self.0, self.1 * 16 + 16 + third, fourth)
    }
}

fn apiserver(mesh: &Path, name: &str, dir: &Path, net: Layout) -> Daemon {
    let flags = [
        "apiserver".to_owned(),
        format!("--cluster-name={name}"),
        format!("--listen={}:{API}", net.address(9, 1)),
        format!("--state-dir={}", dir.display()),
        format!("--pod-cidr={}/22", net.address(0, 0)),
        format!("--service-cidr={}/22", net.address(4, 0)),
    ];
    let run = dir.parent().unwrap();
    Daemon::start(mesh, &flags, (RUN, run), &dir.join("apiserver.log"))
}

impl Machine for Embedded {
    fn kubeconfigs(&self) -> Vec<PathBuf> {
        self.clusters.iter().map(|c| kubeconfig(&c.dir)).collect()
    }

    fn install_flags(&self) -> &'static str {
        // Pods are processes of this machine: nothing may redirect its traffic.
        "--set cniEnabled=true --set clusterNetworks=127.0.0.0/8"
    }

    fn link_flags(&self, _: &str) -> String {
        String::new()
    }

    fn redirects(&self) -> bool {
        false
    }

    fn program(&self) -> String {
        self.mesh.display().to_string()
    }

    fn kill_pod(&self, cluster: &str, pod: &str) {
        let cluster = self.clusters.iter().find(|c| c.name == cluster).unwrap();
        cluster.node.kill_pod(pod);
    }

    fn kill(&mut self, cluster: &str) {
        let cluster = self.cluster(cluster);
        cluster.apiserver.stop();
        cluster.node.kill();
    }

    fn revive(&mut self, cluster: &str) {
        let cluster = self.cluster(cluster);
        cluster.start_apiserver();
        cluster.node.revive();
    }

    fn freeze(&mut self, cluster: &str) {
        let cluster = self.cluster(cluster);
        cluster.apiserver.signal(Signal::STOP);
        cluster.node.signal(Signal::STOP);
    }

    fn thaw(&mut self, cluster: &str) {
        let cluster = self.cluster(cluster);
        cluster.apiserver.signal(Signal::CONT);
        cluster.node.signal(Signal::CONT);
    }

    fn save(&mut self, cluster: &str) {
        let cluster = self.cluster(cluster);
        cluster.apiserver.stop();
        std::fs::copy(cluster.journal(), cluster.backup()).unwrap();
        cluster.start_apiserver();
    }

    fn restore(&mut self, cluster: &str) {
        let cluster = self.cluster(cluster);
        cluster.apiserver.stop();
        std::fs::copy(cluster.backup(), cluster.journal()).unwrap();
        cluster.start_apiserver();
    }

    fn flat(&mut self, _: &str, _: bool) {
        // Pods are addresses of this machine, which reach each other anyway.
    }

    fn memory(&self) -> Vec<(String, u64)> {
        let of = |part: fn(&Cluster) -> u64| self.clusters.iter().map(part).sum();
        vec![
            (
                "API servers".to_owned(),
                of(|c| c.apiserver.pid().map_or(0, memory)),
            ),
            ("node agents".to_owned(), of(|c| c.node.memory().0)),
            ("pods".to_owned(), of(|c| c.node.memory().1)),
        ]
    }
}
