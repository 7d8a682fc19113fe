//! The one cluster all claims share, each in a namespace of its own.

use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use kind_e2e::control_plane::{Config, ControlPlane, User};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::node_agent_world::AGENT_FLAGS;

/// Nothing takes so long unless it never happens.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
/// The node's name and address.
pub(crate) const NODE: &str = "real-node";
pub(crate) const NODE_IP: &str = "10.171.0.1";
/// Who may do nothing.
pub(crate) const NOBODY: &str = "token-of-nobody";

static WORLD: Mutex<Option<World>> = Mutex::new(None);

/// A real control plane and a node agent.
pub(crate) struct World {
    pub(crate) plane: ControlPlane,
    pub(crate) agent: Option<Child>,
    dir: tempfile::TempDir,
    figures: Vec<String>,
}

/// Does something with the cluster, which is started if it is not there.
pub(crate) fn with(claim: fn(&mut World)) {
    let mut world = WORLD.lock();
    claim(world.get_or_insert_with(World::start));
}

/// Ends the cluster, and tells its figures.
pub(crate) fn end() {
    let Some(world) = WORLD.lock().take() else {
        return;
    };
    for figure in &world.figures {
        println!("{figure}");
    }
    let pods = world.run("default", &["get", "pods", "-A", "-o", "name"]);
    println!(
        "memory with {} pods: node agent {} KiB, control plane {:?} (KiB)",
        String::from_utf8_lossy(&pods.stdout).lines().count(),
        world.agent_memory().unwrap_or(0),
        world.plane.memory()
    );
}

impl World {
    fn start() -> Self {
        let config = Config {
            name: "real".into(),
            users: vec![User {
                token: NOBODY.into(),
                name: "nobody".into(),
                groups: Vec::new(),
            }],
            ..Config::default()
        };
        let plane = ControlPlane::start(&kind_e2e::assets::all().unwrap(), config).unwrap();
        let mut world = Self {
            plane,
            agent: None,
            dir: tempfile::tempdir().unwrap(),
            figures: Vec::new(),
        };
        world.start_agent();
        world
    }

    /// Starts this test's own program again, as the agent.
    pub(crate) fn start_agent(&mut self) {
        let log = std::fs::File::options()
            .append(true)
            .create(true)
            .open(self.dir.path().join("agent.log"))
            .unwrap();
        let own = std::env::current_exe().unwrap();
        let flags = [
            "--cluster-name=real".to_owned(),
            format!("--node-name={NODE}"),
            format!("--kubeconfig={}", self.plane.kubeconfig().display()),
            format!("--state-dir={}", self.state_dir()),
            "--network=netns".to_owned(),
            "--pod-cidr=10.171.0.0/16".to_owned(),
            "--lb-cidr=10.172.0.0/24".to_owned(),
            format!("--image=part={}", own.display()),
            "--image=test=/bin/sh".to_owned(),
            format!("--run-id={}", self.run_id()),
        ];
        let agent = Command::new(own)
            .env(AGENT_FLAGS, flags.join("\n"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.agent = Some(agent);
    }

    /// `kill -9` of the agent alone.
    pub(crate) fn kill_agent(&mut self) {
        let mut agent = self.agent.take().unwrap();
        agent.kill().unwrap();
        agent.wait().unwrap();
    }

    /// A figure worth telling.
    pub(crate) fn note(&mut self, figure: String) {
        self.figures.push(figure);
    }

    /// In KiB.
    fn agent_memory(&self) -> Option<u64> {
        let pid = self.agent.as_ref()?.id();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
        line.trim().split(' ').next()?.parse().ok()
    }

    pub(crate) fn run_id(&self) -> String {
        self.dir.path().display().to_string()
    }

    pub(crate) fn state_dir(&self) -> String {
        format!("{}/node", self.run_id())
    }

    /// kubectl, in a namespace.
    pub(crate) fn run(&self, ns: &str, args: &[&str]) -> Output {
        let mut kubectl = self.plane.kubectl();
        kubectl.args(["-n", ns]).args(args).output().unwrap()
    }

    /// What kubectl prints; it must succeed.
    pub(crate) fn ok(&self, ns: &str, args: &[&str]) -> String {
        let output = self.run(ns, args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {args:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A namespace with what controllers put into each.
    pub(crate) fn namespace(&self, ns: &str) {
        self.ok("default", &["create", "namespace", ns]);
        self.until("the namespace has its account", || {
            let there = [
                "get",
                "serviceaccount/default",
                "configmap/kube-root-ca.crt",
            ];
            self.run(ns, &there).status.success().then_some(())
        });
    }

    pub(crate) fn create(&self, ns: &str, object: &Value) {
        let file = self.dir.path().join("object.json");
        std::fs::write(&file, object.to_string()).unwrap();
        self.ok(ns, &["create", "-f", &file.display().to_string()]);
    }

    /// Creates a pod that ends in a second.
    pub(crate) fn pod(&self, ns: &str, name: &str, spec: Value) {
        let mut spec = spec;
        if spec.get("terminationGracePeriodSeconds").is_none() {
            spec["terminationGracePeriodSeconds"] = json!(1);
        }
        let metadata = json!({"name": name, "labels": {"app": name}});
        self.create(
            ns,
            &json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}),
        );
    }

    /// An object as it is now.
    pub(crate) fn get(&self, ns: &str, what: &str) -> Value {
        let output = self.run(ns, &["get", what, "-o", "json"]);
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    pub(crate) fn until_pod<T>(
        &self,
        ns: &str,
        name: &str,
        what: &str,
        look: impl Fn(&Value) -> Option<T>,
    ) -> T {
        let what = format!("{what} ({ns}/{name})");
        self.until(&what, || look(&self.get(ns, &format!("pod/{name}"))))
    }

    pub(crate) fn until_ready(&self, ns: &str, name: &str) -> Value {
        self.until_pod(ns, name, "the pod is ready", |pod| {
            crate::node_agent_world::is_ready(pod).then(|| pod.clone())
        })
    }

    /// A pod's log once it is as wanted.
    pub(crate) fn until_log(&self, ns: &str, pod: &str, wanted: impl Fn(&str) -> bool) -> String {
        self.until(&format!("the right words of {ns}/{pod}"), || {
            let output = self.run(ns, &["logs", pod, "--tail=200"]);
            let log = String::from_utf8_lossy(&output.stdout).into_owned();
            wanted(&log).then_some(log)
        })
    }

    /// Asks until there is an answer.
    pub(crate) fn until<T>(&self, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(answer) = ask() {
                return answer;
            }
            if Instant::now() > deadline {
                let log = std::fs::read_to_string(self.dir.path().join("agent.log"));
                let log = log.unwrap_or_default();
                let tail: Vec<&str> = log.lines().rev().take(40).collect();
                let tail: Vec<&str> = tail.into_iter().rev().collect();
                let pods = self.ok("default", &["get", "pods", "-A", "-o", "wide"]);
                panic!("not in time: {what}\n{pods}\n{}", tail.join("\n"));
            }
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for World {
    /// Whatever the test started goes with it.
    fn drop(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            let _gone = agent.kill();
            let _gone = agent.wait();
        }
        if let Err(error) = devcluster::node::end_run(&self.run_id(), self.dir.path()) {
            eprintln!("{error:#}");
        }
    }
}
