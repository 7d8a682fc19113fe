//! A pod's network made by hand: a namespace with one cable to another one, its neighbour.

use std::{
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

/// A claim, and the programs it needs.
pub(crate) struct Claim {
    pub(crate) name: String,
    pub(crate) needs: &'static [&'static str],
    pub(crate) test: Box<dyn FnOnce() + Send>,
}

/// What is missing for a claim, if anything.
pub(crate) fn missing(programs: &[&str]) -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("needs root, to make network namespaces".to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let absent = programs
        .iter()
        .find(|program| !std::env::split_paths(&path).any(|dir| dir.join(program).is_file()));
    if let Some(program) = absent {
        return Some(format!("needs the program {program}"));
    }
    static WORKS: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    let works = WORKS.get_or_init(|| {
        let name = format!("mesh-probe-{}", std::process::id());
        let made = output("ip", &["netns", "add", &name]);
        let _gone = output("ip", &["netns", "del", &name]);
        (!made.status.success()).then(|| {
            let why = String::from_utf8_lossy(&made.stderr).into_owned();
            format!("network namespaces cannot be made here: {why}")
        })
    });
    works.clone()
}

/// Two namespaces and a cable; both end with this.
pub(crate) struct Pair {
    pub(crate) pod: String,
    peer: String,
}

const POD: &str = "10.77.0.1";
const PEER: &str = "10.77.0.2";
const POD6: &str = "fd77::1";
const PEER6: &str = "fd77::2";

impl Pair {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = format!(
            "{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let pair = Self {
            pod: format!("mesh-t-pod-{id}"),
            peer: format!("mesh-t-peer-{id}"),
        };
        for name in [&pair.pod, &pair.peer] {
            ok("ip", &["netns", "add", name]);
        }
        ok(
            "ip",
            &[
                "-n", &pair.pod, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0",
                "netns", &pair.peer,
            ],
        );
        for (name, v4, v6, gateway4, gateway6) in [
            (&pair.pod, POD, POD6, PEER, PEER6),
            (&pair.peer, PEER, PEER6, POD, POD6),
        ] {
            let ip = |words: &str| {
                let words = words.split(' ');
                let all: Vec<&str> = ["-n", name].into_iter().chain(words).collect();
                ok("ip", &all);
            };
            ip(&format!("addr add {v4}/24 dev eth0"));
            ip(&format!("addr add {v6}/64 dev eth0 nodad"));
            ip("link set lo up");
            ip("link set eth0 up");
            ip(&format!("route add default via {gateway4}"));
            ip(&format!("-6 route add default via {gateway6}"));
        }
        pair
    }

    /// Runs `mesh` in the pod.
    pub(crate) fn mesh(&self, args: &[&str]) -> Output {
        let all: Vec<&str> = ["netns", "exec", &self.pod, env!("CARGO_BIN_EXE_mesh")]
            .into_iter()
            .chain(args.iter().copied())
            .collect();
        output("ip", &all)
    }

    /// Runs `mesh` in the pod; it must succeed.
    pub(crate) fn mesh_ok(&self, args: &[&str]) -> String {
        said(&self.mesh(args), args)
    }

    /// Runs a program in the pod; it must succeed.
    pub(crate) fn in_pod(&self, words: &[&str]) -> String {
        let all: Vec<&str> = [&["netns", "exec", self.pod.as_str()], words].concat();
        ok("ip", &all)
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for name in [&self.pod, &self.peer] {
            let _gone = output("ip", &["netns", "del", name]);
        }
    }
}

pub(crate) fn output(program: &str, args: &[&str]) -> Output {
    Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

pub(crate) fn ok(program: &str, args: &[&str]) -> String {
    said(&output(program, args), args)
}

fn said(output: &Output, args: &[&str]) -> String {
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{args:?}: {out}{err}");
    out.into_owned()
}
