//! Clusters whose pods are processes of this machine: a node agent, and what it runs.

use super::daemon::Daemon;
use rustix::process::{Pid, Signal, kill_process};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

/// In the environment of every process of a run: the world's folder.
pub const RUN: &str = "MESH_DEVCLUSTER_RUN";
/// In the environment of every process of a pod: its node agent's folder.
const NODE: &str = "MESH_DEVCLUSTER_NODE";

/// A node agent and its pods.
pub struct Node {
    dir: PathBuf,
    agent: Daemon,
}

impl Node {
    /// Starts one in `<dir>/node`, with these flags besides the usual.
    pub fn start(
        mesh: &Path,
        cluster: &str,
        dir: &Path,
        kubeconfig: &Path,
        flags: &[String],
    ) -> Self {
        let (node, run) = (dir.join("node"), dir.parent().unwrap());
        let mut all = vec![
            "node-agent".to_owned(),
            format!("--cluster-name={cluster}"),
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--state-dir={}", node.display()),
            format!("--run-id={}", run.display()),
        ];
        all.extend_from_slice(flags);
        let agent = Daemon::start(mesh, &all, (RUN, run), &dir.join("node-agent.log"));
        Self { dir: node, agent }
    }

    fn marker(&self) -> String {
        format!("{NODE}={}", self.dir.display())
    }

    /// Kills the agent, so that nobody starts pods again, and then all pods.
    pub fn kill(&mut self) {
        self.agent.stop();
        while signal(&self.marker(), Signal::KILL) > 0 {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// Starts a killed agent again.
    pub fn revive(&mut self) {
        self.agent.restart();
    }

    /// Starts the agent anew, with a flag or without it; pods go on.
    pub fn set_flag(&mut self, flag: &str, on: bool) {
        self.agent.set_flag(flag, on);
        self.agent.restart();
    }

    /// SIGSTOP or SIGCONT to all of it.
    pub fn signal(&self, signal: Signal) {
        self.agent.signal(signal);
        self::signal(&self.marker(), signal);
    }

    /// Kills the processes of a pod.
    pub fn kill_pod(&self, pod: &str) {
        let name = format!("HOSTNAME={pod}");
        let mut killed = 0;
        for pid in marked(&self.marker()) {
            if has(pid, &name) && kill_process(pid, Signal::KILL).is_ok() {
                killed += 1;
            }
        }
        assert!(killed > 0, "no process of the pod {pod} runs");
    }

    /// Memory of agent and pods.
    pub fn memory(&self) -> (u64, u64) {
        let pods = marked(&self.marker()).into_iter().map(memory).sum();
        (self.agent.pid().map_or(0, memory), pods)
    }
}

/// The live processes with this entry in their environment.
pub fn marked(entry: &str) -> Vec<Pid> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|process| Pid::from_raw(process.file_name().to_str()?.parse().ok()?))
        .filter(|pid| *pid != rustix::process::getpid() && has(*pid, entry))
        .collect()
}

fn has(pid: Pid, entry: &str) -> bool {
    // Unreadable: another user's, or gone. Empty: a zombie.
    let environment = std::fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero()));
    environment.is_ok_and(|all| all.split(|byte| *byte == 0).any(|e| e == entry.as_bytes()))
}

/// Sends a signal to all of them; how many got it.
pub fn signal(entry: &str, signal: Signal) -> usize {
    let all = marked(entry).into_iter();
    all.filter(|pid| kill_process(*pid, signal).is_ok()).count()
}

/// Memory of a process in KiB; what it shares with others counts in part.
pub fn memory(pid: Pid) -> u64 {
    let of = |file: &str, field: &str| -> Option<u64> {
        let text =
            std::fs::read_to_string(format!("/proc/{}/{file}", pid.as_raw_nonzero())).ok()?;
        let line = text.lines().find(|line| line.starts_with(field))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    of("smaps_rollup", "Pss:")
        .or_else(|| of("status", "VmRSS:"))
        .unwrap_or(0)
}

/// A number that no other run on this machine has, to make addresses of.
pub struct Slot {
    /// 0 to 6.
    pub number: u8,
    _claim: TcpListener,
}

impl Slot {
    /// Takes a free one for a world of this kind.
    pub fn claim(port: u16) -> Self {
        let free = (0..7).find_map(|number| {
            let claim = TcpListener::bind((Ipv4Addr::new(127, 121 + number, 0, 1), port)).ok()?;
            Some(Self {
                number,
                _claim: claim,
            })
        });
        free.expect("seven other runs are under way on this machine, or 127.121.0.1 is unusable")
    }
}
