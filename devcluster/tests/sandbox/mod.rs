//! A cluster for one test: an API server in this process, and a kubectl that speaks to it.

#![allow(dead_code, reason = "each test binary uses its part")]

pub mod upgrade;

use devcluster::apiserver::{Config, Running, start};
use mesh_daemon::Trigger;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// How long anything a test waits for may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The runtime API servers of this process live on.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().expect("a runtime"))
}

/// A cluster. It ends when it is dropped.
pub struct Cluster {
    pub running: Running,
    dir: TempDir,
    trigger: Trigger,
    kubectl: PathBuf,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.trigger.shutdown();
    }
}

/// What kubectl said.
#[derive(Debug)]
pub struct Said {
    pub ok: bool,
    pub out: String,
    pub err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            ok: output.status.success(),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }
}

impl Cluster {
    /// Starts one with namespace `default`.
    pub fn start(kubectl: PathBuf) -> Self {
        Self::start_with(kubectl, Config::default())
    }

    pub fn start_with(kubectl: PathBuf, config: Config) -> Self {
        let dir = TempDir::new().expect("a folder");
        let (trigger, shutdown) = mesh_daemon::shutdown();
        let running = runtime()
            .block_on(start(config, shutdown))
            .expect("an API server");
        std::fs::write(dir.path().join("config"), &running.admin_kubeconfig).expect("kubeconfig");
        let cluster = Self {
            running,
            dir,
            trigger,
            kubectl,
        };
        // The controllers make it in their own time.
        eventually("namespace default", || {
            let made = cluster.run(&["create", "namespace", "default"]);
            (made.ok || made.err.contains("already exists")).then_some(())
        });
        cluster
    }

    /// kubectl with the cluster's kubeconfig, not started yet.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.kubectl);
        command
            .args(args)
            .env("HOME", self.dir.path())
            .env("KUBECONFIG", self.dir.path().join("config"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs kubectl.
    pub fn run(&self, args: &[&str]) -> Said {
        self.command(args).output().expect("kubectl runs").into()
    }

    /// Runs kubectl with something to read (`-f -`).
    pub fn feed(&self, args: &[&str], input: &str) -> Said {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .spawn()
            .expect("kubectl runs");
        let mut stdin = child.stdin.take().expect("its input");
        stdin.write_all(input.as_bytes()).expect("kubectl reads");
        drop(stdin);
        child.wait_with_output().expect("kubectl ends").into()
    }

    /// Runs kubectl until it is killed.
    pub fn spawn(&self, args: &[&str]) -> Child {
        self.command(args).spawn().expect("kubectl runs")
    }

    /// What kubectl prints; it must succeed.
    pub fn ok(&self, args: &[&str]) -> String {
        let said = self.run(args);
        assert!(said.ok, "kubectl {args:?}: {said:?}");
        said.out
    }

    /// What kubectl prints when fed; it must succeed.
    pub fn fed(&self, args: &[&str], input: &str) -> String {
        let said = self.feed(args, input);
        assert!(said.ok, "kubectl {args:?}: {said:?}");
        said.out
    }

    /// What kubectl complains about; it must fail.
    pub fn fails(&self, args: &[&str]) -> String {
        let said = self.run(args);
        assert!(!said.ok, "kubectl {args:?} should fail: {said:?}");
        said.err
    }

    /// What kubectl complains about when fed; it must fail.
    pub fn fed_fails(&self, args: &[&str], input: &str) -> String {
        let said = self.feed(args, input);
        assert!(!said.ok, "kubectl {args:?} should fail: {said:?}");
        said.err
    }
}

/// Asks until there is an answer.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < until, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
