//! Clusters made by kind, with the images of the repository's Dockerfile. Needs Docker and kind.
//!
//! kind has no load balancers: a gateway is reached at its node's address (as an external IP of its
//! Service), which all nodes on Docker's network `kind` reach.

use super::{CLUSTERS, Machine, Missing};
use crate::typed;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const IMAGES: [(&str, &str); 2] = [
    ("mesh", "mesh.io/mesh:0.1.0"),
    ("proxy", "mesh.io/proxy:0.1.0"),
];
/// Images are built and nodes pulled in this time.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Three of them.
pub struct KindClusters {
    dir: PathBuf,
}

/// What keeps them from being made here.
pub fn missing() -> Option<Missing> {
    let fatal = std::env::var("MESH_KIND").is_ok_and(|value| value == "require");
    let probes: [(&str, &[&str]); 2] = [
        ("docker", &["version", "--format={{.Server.Version}}"]),
        ("kind", &["version"]),
    ];
    probes.iter().find_map(|(program, args)| {
        let why = match Command::new(program).args(*args).output() {
            Ok(output) if output.status.success() => return None,
            Ok(output) => format!(
                "`{program}` does not work: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            ),
            Err(error) => format!("`{program}`: {error}"),
        };
        Some(Missing { why, fatal })
    })
}

fn run(program: &str, args: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(args).current_dir(SOURCE);
    let output = typed::run(command, "", PATIENCE);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn cluster(name: &str) -> String {
    format!("mesh-e2e-{name}")
}

fn node(name: &str) -> String {
    format!("{}-control-plane", cluster(name))
}

impl KindClusters {
    /// Builds the images, starts the clusters side by side, and loads the images.
    pub fn boot(dir: &Path) -> Self {
        let clusters = Self {
            dir: dir.to_owned(),
        };
        for (target, tag) in IMAGES {
            eprintln!("[kind] docker build --target {target} -t {tag} .");
            run("docker", &["build", "--target", target, "-t", tag, "."]);
        }
        std::thread::scope(|scope| {
            for name in CLUSTERS {
                let kubeconfig = clusters.kubeconfig(name);
                scope.spawn(move || start(name, &kubeconfig));
            }
        });
        clusters
    }

    fn kubeconfig(&self, name: &str) -> String {
        self.dir.join(format!("{name}.kind")).display().to_string()
    }
}

fn start(name: &str, kubeconfig: &str) {
    let config = format!("kind-e2e/kind/{name}.yaml");
    let into = ["--kubeconfig", kubeconfig, "--wait", "180s"];
    run(
        "kind",
        &[&["create", "cluster", "--config", &config], &into[..]].concat(),
    );
    for (_, tag) in IMAGES {
        run(
            "kind",
            &["load", "docker-image", tag, "--name", &cluster(name)],
        );
    }
    // kind calls it kind-<cluster>.
    let context = format!("kind-{}", cluster(name));
    let rename = [
        "config",
        "rename-context",
        &context,
        name,
        "--kubeconfig",
        kubeconfig,
    ];
    let kubectl = kind_e2e::assets::kubectl().unwrap();
    run(&kubectl.display().to_string(), &rename);
}

/// Where other nodes reach this one.
fn address(name: &str) -> String {
    let format = "{{(index .NetworkSettings.Networks \"kind\").IPAddress}}";
    run("docker", &["inspect", "-f", format, &node(name)])
        .trim()
        .to_owned()
}

impl Machine for KindClusters {
    fn kubeconfigs(&self) -> Vec<PathBuf> {
        CLUSTERS.map(|name| self.kubeconfig(name).into()).to_vec()
    }

    fn install_flags(&self) -> &'static str {
        "--set imagePullPolicy=Never"
    }

    fn link_flags(&self, name: &str) -> String {
        let (address, kubectl) = (address(name), kind_e2e::assets::kubectl().unwrap());
        let patch = format!("{{\"spec\":{{\"externalIPs\":[\"{address}\"]}}}}");
        let kubeconfig = format!("--kubeconfig={}", self.kubeconfig(name));
        let service = [
            "patch",
            "svc",
            "linkerd-gateway",
            "-n",
            "linkerd-multicluster",
        ];
        let patch = ["--type=merge", "-p", &patch, &kubeconfig];
        run(
            &kubectl.display().to_string(),
            &[&service[..], &patch[..]].concat(),
        );
        format!("--api-server-address=https://{address}:6443 --gateway-addresses={address}")
    }

    fn redirects(&self) -> bool {
        true
    }

    fn program(&self) -> String {
        "/usr/local/bin/mesh".to_owned()
    }

    fn kill_pod(&self, name: &str, pod: &str) {
        // Containers of the pod, by containerd's own client on the node.
        let script =
            format!("crictl stop --timeout=0 $(crictl ps -q --label io.kubernetes.pod.name={pod})");
        run("docker", &["exec", &node(name), "sh", "-c", &script]);
    }

    fn kill(&mut self, name: &str) {
        run("docker", &["kill", &node(name)]);
    }

    fn revive(&mut self, name: &str) {
        run("docker", &["start", &node(name)]);
    }

    fn freeze(&mut self, name: &str) {
        run("docker", &["pause", &node(name)]);
    }

    fn thaw(&mut self, name: &str) {
        run("docker", &["unpause", &node(name)]);
    }

    fn save(&mut self, _: &str) {
        panic!("etcd of a node of kind is not at hand");
    }

    fn restore(&mut self, _: &str) {
        panic!("etcd of a node of kind is not at hand");
    }

    fn flat(&mut self, _: &str, _: bool) {
        panic!("nodes of kind have no routes to each other's pods");
    }

    fn memory(&self) -> Vec<(String, u64)> {
        Vec::new() // Docker tells: docker stats
    }
}

impl Drop for KindClusters {
    fn drop(&mut self) {
        delete();
    }
}

/// Removes the clusters, whoever made them.
pub fn delete() {
    for name in CLUSTERS {
        let _not_there = Command::new("kind")
            .args(["delete", "cluster", "--name", &cluster(name)])
            .output();
    }
}
