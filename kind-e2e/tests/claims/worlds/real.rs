//! Clusters of kube-apiserver, etcd and kube-controller-manager, with our node agent in the `netns`
//! network: pods whose traffic the kernel redirects. Needs root.

use super::local::{Node, Slot};
use super::{CLUSTERS, Machine, Missing};
use kind_e2e::assets::{self, Assets};
use kind_e2e::control_plane::{Config, ControlPlane};
use rustix::process::Signal;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Held by whoever uses a slot.
const CLAIM: u16 = 20_031;

/// Three of them.
pub struct Real {
    clusters: Vec<Cluster>,
    mesh: PathBuf,
    _slot: Slot,
}

struct Cluster {
    name: &'static str,
    /// Where pods of all clusters reach its API server.
    address: Ipv4Addr,
    node: Node,
    plane: ControlPlane,
}

/// What keeps them from being made here.
pub fn missing() -> Option<Missing> {
    if let Err(error) = assets::all() {
        return Some(Missing {
            why: error.to_string(),
            fatal: kind_e2e::required(),
        });
    }
    // Who may not make namespaces says so, rather than having it found out.
    let asked = std::env::var("MESH_NETNS").unwrap_or_default();
    let fatal = asked == "require" || (kind_e2e::required() && asked != "ignore");
    let why = no_namespaces()?;
    Some(Missing { why, fatal })
}

fn no_namespaces() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("network namespaces need root".to_owned());
    }
    for (program, args) in [("ip", ["netns", "list"]), ("nft", ["list", "tables"])] {
        match Command::new(program).args(args).output() {
            Ok(output) if output.status.success() => {}
            Ok(output) => return Some(String::from_utf8_lossy(&output.stderr).into_owned()),
            Err(error) => return Some(format!("network namespaces need `{program}`: {error}")),
        }
    }
    None
}

impl Real {
    /// Starts them, side by side.
    pub fn boot(dir: &Path, mesh: &Path) -> Self {
        let (assets, slot) = (assets::all().unwrap(), Slot::claim(CLAIM));
        let first = 180 + slot.number * 8;
        let clusters = std::thread::scope(|scope| {
            let starting = CLUSTERS.into_iter().zip(0..).map(|(name, index)| {
                let (dir, assets) = (dir.join(name), &assets);
                scope.spawn(move || Cluster::start(name, &dir, mesh, assets, first + index * 2))
            });
            let starting: Vec<_> = starting.collect();
            starting
                .into_iter()
                .map(|one| one.join().unwrap())
                .collect()
        });
        Self {
            clusters,
            mesh: mesh.to_owned(),
            _slot: slot,
        }
    }

    fn cluster(&mut self, name: &str) -> &mut Cluster {
        self.clusters.iter_mut().find(|c| c.name == name).unwrap()
    }
}

impl Cluster {
    /// With pods in 10.`second`.0.0/16 and load balancers in 10.`second + 1`.0.0/24.
    fn start(name: &'static str, dir: &Path, mesh: &Path, assets: &Assets, second: u8) -> Self {
        let address = Ipv4Addr::new(10, second, 0, 1);
        let config = Config {
            name: name.to_owned(),
            dir: Some(dir.join("control-plane")),
            extra_addresses: vec![address.into()],
            ..Config::default()
        };
        let plane = ControlPlane::start(assets, config).unwrap();
        let flags = [
            "--network=netns".to_owned(),
            format!("--pod-cidr=10.{second}.0.0/16"),
            format!("--lb-cidr=10.{}.0.0/24", second + 1),
        ];
        let node = Node::start(mesh, name, dir, &plane.kubeconfig(), &flags);
        Self {
            name,
            address,
            node,
            plane,
        }
    }
}

impl Machine for Real {
    fn kubeconfigs(&self) -> Vec<PathBuf> {
        self.clusters.iter().map(|c| c.plane.kubeconfig()).collect()
    }

    fn install_flags(&self) -> &'static str {
        ""
    }

    fn link_flags(&self, cluster: &str) -> String {
        let cluster = self.clusters.iter().find(|c| c.name == cluster).unwrap();
        format!("--api-server-address=https://{}:6443", cluster.address)
    }

    fn redirects(&self) -> bool {
        true
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
        cluster.plane.stop_apiserver();
        cluster.node.kill();
    }

    fn revive(&mut self, cluster: &str) {
        let cluster = self.cluster(cluster);
        cluster.plane.start_apiserver().unwrap();
        cluster.node.revive();
    }

    fn freeze(&mut self, cluster: &str) {
        let cluster = self.cluster(cluster);
        cluster.plane.freeze();
        cluster.node.signal(Signal::STOP);
    }

    fn thaw(&mut self, cluster: &str) {
        let cluster = self.cluster(cluster);
        cluster.plane.thaw();
        cluster.node.signal(Signal::CONT);
    }

    fn save(&mut self, cluster: &str) {
        self.cluster(cluster).plane.save().unwrap();
    }

    fn restore(&mut self, cluster: &str) {
        self.cluster(cluster).plane.restore().unwrap();
    }

    fn flat(&mut self, cluster: &str, flat: bool) {
        self.cluster(cluster).node.set_flag("--flat", flat);
    }

    fn memory(&self) -> Vec<(String, u64)> {
        let of = |part: fn(&Cluster) -> u64| self.clusters.iter().map(part).sum();
        vec![
            (
                "kube-apiservers".to_owned(),
                of(|c| c.plane.memory().apiserver),
            ),
            ("etcd".to_owned(), of(|c| c.plane.memory().etcd)),
            (
                "controllers".to_owned(),
                of(|c| c.plane.memory().controllers),
            ),
            ("node agents".to_owned(), of(|c| c.node.memory().0)),
            ("pods".to_owned(), of(|c| c.node.memory().1)),
        ]
    }
}
