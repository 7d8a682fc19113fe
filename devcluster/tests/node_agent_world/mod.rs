//! An API server in this process and a node agent in another one, for claims about pods.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use devcluster::{apiserver, node};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, ServiceAccount};
use kube::api::{DeleteParams, LogParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};
use mesh_daemon::Trigger;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(20);
/// Set in the process that is to be the agent: its flags, separated by newlines.
pub(crate) const AGENT_FLAGS: &str = "MESH_TEST_NODE_AGENT_FLAGS";

/// A cluster with one node.
pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) run_id: String,
    name: String,
    dir: tempfile::TempDir,
    /// The agent's flags that say where pods are.
    network: Vec<String>,
    agent: Option<Child>,
    _server: apiserver::Running,
    _trigger: Trigger,
}

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    args: node::Args,
}

/// Runs the agent if this process was started to be one.
pub(crate) async fn be_the_agent() {
    let Ok(flags) = std::env::var(AGENT_FLAGS) else {
        return;
    };
    let flags = Flags::parse_from(std::iter::once("node-agent").chain(flags.lines()));
    let (trigger, shutdown) = mesh_daemon::shutdown();
    tokio::spawn(mesh_daemon::on_signals(trigger));
    node::run(flags.args, shutdown).await.unwrap();
}

impl World {
    pub(crate) async fn start() -> Self {
        static NEXT: AtomicU8 = AtomicU8::new(0);
        // Tests of several processes may run at once; their pods must not meet.
        let second = 130 + u8::try_from(std::process::id() % 100).unwrap();
        let third = NEXT.fetch_add(1, Ordering::Relaxed) * 4;
        let (pods, balancers) = (
            Ipv4Addr::new(127, second, third, 0),
            Ipv4Addr::new(127, second, third + 2, 0),
        );
        let network = vec![
            format!("--pod-cidr={pods}/23"),
            format!("--lb-cidr={balancers}/24"),
        ];
        Self::start_with("west", network).await
    }

    /// A cluster of this name whose agent is told where pods are.
    pub(crate) async fn start_with(name: &str, network: Vec<String>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (trigger, shutdown) = mesh_daemon::shutdown();
        let config = apiserver::Config {
            cluster_name: name.into(),
            state_dir: Some(dir.path().join("apiserver")),
            ..Default::default()
        };
        let server = apiserver::start(config, shutdown).await.unwrap();
        let kubeconfig = Kubeconfig::from_yaml(&server.admin_kubeconfig).unwrap();
        let options = KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .unwrap();
        let client = Client::try_from(config).unwrap();
        settle(&client).await;
        let run_id = dir.path().display().to_string();
        let mut world = Self {
            client,
            run_id,
            dir,
            name: name.to_owned(),
            network,
            agent: None,
            _server: server,
            _trigger: trigger,
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
        let flags = [
            format!("--cluster-name={}", self.name),
            format!("--kubeconfig={}/apiserver/admin.kubeconfig", self.run_id),
            format!("--state-dir={}", self.state_dir().display()),
            "--image=test=/bin/sh".to_owned(),
            format!("--run-id={}", self.run_id),
        ];
        let flags = [&flags[..], &self.network].concat();
        let agent = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "agent_process", "--ignored", "--nocapture"])
            .env(AGENT_FLAGS, flags.join("\n"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.agent = Some(agent);
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.dir.path().join("node")
    }

    /// `kill -9` of the agent alone.
    pub(crate) fn kill_agent(&mut self) {
        let mut agent = self.agent.take().unwrap();
        agent.kill().unwrap();
        agent.wait().unwrap();
    }

    pub(crate) fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), "default")
    }

    /// Creates a pod whose one container runs a shell script.
    pub(crate) async fn run_script(&self, name: &str, script: &str) {
        self.create(name, json!({"containers": [shell(script)]}))
            .await;
    }

    pub(crate) async fn create(&self, name: &str, spec: Value) {
        let mut pod = json!({"metadata": {"name": name}, "spec": spec});
        pod["spec"]["terminationGracePeriodSeconds"] = pod["spec"]
            .get("terminationGracePeriodSeconds")
            .cloned()
            .unwrap_or(json!(2));
        let pod: Pod = serde_json::from_value(pod).unwrap();
        self.pods()
            .create(&PostParams::default(), &pod)
            .await
            .unwrap();
    }

    /// Waits until `look` finds what it wants in the pod's status.
    pub(crate) async fn until<T>(
        &self,
        name: &str,
        what: &str,
        look: impl Fn(&Value) -> Option<T>,
    ) -> T {
        let look = &look;
        let found = eventually_or(what, || async move {
            let pod = self.pods().get(name).await.ok()?;
            look(&serde_json::to_value(pod).unwrap())
        })
        .await;
        match found {
            Some(found) => found,
            None => {
                let pod = self.pods().get_opt(name).await.unwrap();
                let status = pod.map(|p| serde_json::to_value(p.status).unwrap());
                let log = std::fs::read_to_string(self.dir.path().join("agent.log"));
                panic!(
                    "not in time: {what}\n{status:#?}\n{}",
                    log.unwrap_or_default()
                );
            }
        }
    }

    pub(crate) async fn until_ready(&self, name: &str) -> Value {
        self.until(name, "the pod is ready", |pod| {
            is_ready(pod).then(|| pod.clone())
        })
        .await
    }

    pub(crate) async fn patch(&self, name: &str, patch: Value) {
        self.pods()
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap();
    }

    /// As `kubectl set image` does it.
    pub(crate) async fn set_image(&self, name: &str, image: &str) {
        let patch = json!({"spec": {"containers": [{"name": "main", "image": image}]}});
        self.pods()
            .patch(name, &PatchParams::default(), &Patch::Strategic(patch))
            .await
            .unwrap();
    }

    pub(crate) async fn delete(&self, name: &str) {
        self.pods()
            .delete(name, &DeleteParams::default())
            .await
            .unwrap();
    }

    pub(crate) async fn until_gone(&self, name: &str) {
        eventually("the pod is gone", || async {
            self.pods()
                .get_opt(name)
                .await
                .unwrap()
                .is_none()
                .then_some(())
        })
        .await;
    }

    pub(crate) async fn logs(&self, name: &str, params: &LogParams) -> kube::Result<String> {
        self.pods().logs(name, params).await
    }

    /// The pid of a pod's container, as the agent's record has it.
    pub(crate) fn pid(&self, pod: &Value, container: &str) -> i32 {
        let uid = pod["metadata"]["uid"].as_str().unwrap();
        let record = self.state_dir().join("pods").join(uid).join("pod.json");
        let record: Value = serde_json::from_slice(&std::fs::read(record).unwrap()).unwrap();
        let pid = &record["containers"][container]["state"]["Running"]["pid"];
        i32::try_from(pid.as_i64().unwrap()).unwrap()
    }
}

/// What controllers make for every namespace is there.
async fn settle(client: &Client) {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    eventually("the default namespace is furnished", || async {
        let account = accounts.get_opt("default").await.ok()?;
        account.and(maps.get_opt("kube-root-ca.crt").await.ok()?)
    })
    .await;
}

impl Drop for World {
    /// Whatever the test started goes with it.
    fn drop(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            let _ = agent.kill();
            let _ = agent.wait();
        }
        if let Err(error) = devcluster::node::end_run(&self.run_id, self.dir.path()) {
            eprintln!("{error:#}");
        }
    }
}

/// A container of the shell's image.
pub(crate) fn shell(script: &str) -> Value {
    json!({"name": "main", "image": "test:1", "args": ["-c", script]})
}

pub(crate) fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions
        .into_iter()
        .flatten()
        .any(|c| c["type"] == "Ready" && c["status"] == "True")
}

pub(crate) fn kill(pid: i32) {
    let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
}

pub(crate) fn is_alive(pid: i32) -> bool {
    std::fs::read(format!("/proc/{pid}/environ")).is_ok_and(|e| !e.is_empty())
}

/// Polls until there is an answer.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    ask: impl FnMut() -> F,
) -> T {
    let answer = eventually_or(what, ask).await;
    answer.unwrap_or_else(|| panic!("not in time: {what}"))
}

async fn eventually_or<T, F: Future<Output = Option<T>>>(
    _what: &str,
    mut ask: impl FnMut() -> F,
) -> Option<T> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(answer) = ask().await {
            return Some(answer);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    None
}
