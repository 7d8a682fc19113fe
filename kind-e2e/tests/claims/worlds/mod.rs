//! Worlds: three clusters, west, east and north, and how a user and an accident reach them.
//!
//! Claims see [`World`] alone. What is particular to a kind of cluster is behind [`Machine`]. Whatever
//! ends the test, nothing of a world outlives it (`reaper.rs`).

mod commands;
mod daemon;
mod embedded;
mod kind;
mod local;
mod pods;
mod real;
pub mod reaper;

use crate::steps::Steps;
use crate::{binary, report, typed};
pub use pods::tunnelled;
use reaper::Reaper;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The clusters; services of the first are preferred by its own clients.
pub const CLUSTERS: [&str; 3] = ["west", "east", "north"];

/// How long a command may take.
const COMMAND: Duration = Duration::from_secs(120);
/// How long anything may take to come about on a busy machine.
const PATIENCE: u64 = 90;
const POLL: Duration = Duration::from_millis(100);

/// [`PATIENCE`], or that of whoever debugs a claim: `MESH_E2E_PATIENCE=SECONDS`.
fn patience() -> Duration {
    let asked = std::env::var("MESH_E2E_PATIENCE").ok();
    let asked = asked.and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(asked.unwrap_or(PATIENCE))
}

/// What the clusters are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// The embedded API server, pods as processes in the `loopback` network.
    Embedded,
    /// kube-apiserver, etcd and kube-controller-manager, pods in the `netns` network.
    Real,
    /// kind, with images built from the Dockerfile.
    Kind,
}

/// Why a world cannot be made.
#[derive(Clone, Debug)]
pub struct Missing {
    /// What is not there.
    pub why: String,
    /// Whether that is a failure.
    pub fatal: bool,
}

impl Flavour {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Embedded, Self::Real, Self::Kind];

    /// First part of its tests' names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Real => "real",
            Self::Kind => "kind",
        }
    }

    /// What keeps it from being made here.
    pub fn missing(self) -> Option<Missing> {
        match self {
            Self::Embedded => embedded::missing(),
            Self::Real => real::missing(),
            Self::Kind => kind::missing(),
        }
    }
}

/// What a kind of clusters does in its own way.
trait Machine: Send {
    /// The administrators' kubeconfigs, whose contexts are called like the clusters.
    fn kubeconfigs(&self) -> Vec<PathBuf>;
    /// More flags of `mesh install`, and of `helm`: only `--set`.
    fn install_flags(&self) -> &'static str;
    /// More flags of `mesh multicluster link` for linking `cluster` elsewhere.
    fn link_flags(&self, cluster: &str) -> String;
    /// Whether pods' traffic is redirected, so that pods need not know of their sidecar.
    fn redirects(&self) -> bool;
    /// Where `mesh` is inside a pod.
    fn program(&self) -> String;
    /// Kills the processes of a pod, as the kernel does when memory is short.
    fn kill_pod(&self, cluster: &str, pod: &str);
    /// The power goes.
    fn kill(&mut self, cluster: &str);
    /// And comes back.
    fn revive(&mut self, cluster: &str);
    /// Everything stops where it is, and says nothing.
    fn freeze(&mut self, cluster: &str);
    /// And goes on.
    fn thaw(&mut self, cluster: &str);
    /// Keeps what the cluster's store holds; its API server is away for that long.
    fn save(&mut self, cluster: &str);
    /// Has the API server start anew with what was kept.
    fn restore(&mut self, cluster: &str);
    /// Whether pods reach pods of other clusters that have it so too.
    fn flat(&mut self, cluster: &str, flat: bool);
    /// Resident memory in KiB, by what uses it.
    fn memory(&self) -> Vec<(String, u64)>;
}

/// Three clusters that run.
pub struct World {
    kind: Flavour,
    kubectl: PathBuf,
    mesh: PathBuf,
    dir: PathBuf,
    /// What has been set up in it.
    pub steps: Mutex<Steps>,
    redirects: bool,
    program: String,
    // Before the reaper, which looks whether anything is left.
    machine: Mutex<Box<dyn Machine>>,
    reaper: Reaper,
}

impl World {
    /// Starts one.
    pub fn boot(kind: Flavour) -> Self {
        let mesh = binary::mesh();
        let dir = reaper::folder(kind.name());
        let reaper = Reaper::start(&dir);
        let machine: Box<dyn Machine> = match kind {
            Flavour::Embedded => Box::new(embedded::Embedded::boot(&dir, mesh)),
            Flavour::Real => Box::new(real::Real::boot(&dir, mesh)),
            Flavour::Kind => Box::new(kind::KindClusters::boot(&dir)),
        };
        let world = Self {
            kind,
            kubectl: kind_e2e::assets::kubectl().unwrap(),
            mesh: mesh.to_owned(),
            steps: Mutex::default(),
            redirects: machine.redirects(),
            program: machine.program(),
            machine: Mutex::new(machine),
            dir,
            reaper,
        };
        world.merge_kubeconfigs();
        world
    }

    /// One file with three contexts, as users have it.
    fn merge_kubeconfigs(&self) {
        let files = std::env::join_paths(self.machine().kubeconfigs()).unwrap();
        let mut command = self.command("kubectl");
        command
            .args(["config", "view", "--flatten", "--raw"])
            .env("KUBECONFIG", files);
        let output = typed::run(command, "", COMMAND);
        assert!(output.status.success(), "{output:?}");
        std::fs::write(self.file("kubeconfig"), output.stdout).unwrap();
    }

    fn machine(&self) -> MutexGuard<'_, Box<dyn Machine>> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What kind it is.
    pub fn kind(&self) -> Flavour {
        self.kind
    }

    /// Where its files and logs are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A file of its.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Whether pods' traffic is redirected, so that pods need not know of their sidecar.
    pub fn redirects(&self) -> bool {
        self.redirects
    }

    /// More flags of `mesh install`, and of `helm`.
    pub fn install_flags(&self) -> &'static str {
        self.machine().install_flags()
    }

    /// More flags of `mesh multicluster link`.
    pub fn link_flags(&self, cluster: &str) -> String {
        self.machine().link_flags(cluster)
    }

    /// Kills the processes of a pod.
    pub fn kill_pod(&self, cluster: &str, pod: &str) {
        self.machine().kill_pod(cluster, pod);
    }

    /// Kills all of a cluster at once.
    pub fn kill(&self, cluster: &str) {
        self.machine().kill(cluster);
    }

    /// Starts a killed cluster again.
    pub fn revive(&self, cluster: &str) {
        self.machine().revive(cluster);
    }

    /// Stops all of a cluster where it is.
    pub fn freeze(&self, cluster: &str) {
        self.machine().freeze(cluster);
    }

    /// Lets a frozen cluster go on.
    pub fn thaw(&self, cluster: &str) {
        self.machine().thaw(cluster);
    }

    /// Keeps what a cluster's store holds.
    pub fn save(&self, cluster: &str) {
        self.machine().save(cluster);
    }

    /// Takes a cluster's store back to what was kept, as from a backup.
    pub fn restore(&self, cluster: &str) {
        self.machine().restore(cluster);
    }

    /// Whether pods of a cluster reach pods of others that have it so too.
    pub fn flat(&self, cluster: &str, flat: bool) {
        self.machine().flat(cluster, flat);
    }

    /// Resident memory in KiB, by what uses it.
    pub fn memory(&self) -> Vec<(String, u64)> {
        self.machine().memory()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !report::has_failed(self.kind) {
            self.reaper.forget_files();
        }
    }
}
