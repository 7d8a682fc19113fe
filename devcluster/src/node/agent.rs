//! What every part of one node agent shares.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;

use super::access::ApiAccess;
use super::container;
use super::events::Events;
use super::images::Images;
use super::ipam::Ipam;
use super::network::Network;
use super::process;

/// The agent's surroundings; made once by `run`.
pub(super) struct Agent {
    pub(super) client: kube::Client,
    pub(super) access: ApiAccess,
    pub(super) cluster_name: String,
    pub(super) node_name: String,
    pub(super) node_ip: Ipv4Addr,
    pub(super) state_dir: PathBuf,
    pub(super) network: Network,
    pub(super) run_id: String,
    pub(super) images: Images,
    pub(super) events: Events,
    pub(super) ipam: Mutex<Ipam>,
    pub(super) board: Board,
}

impl Agent {
    /// Where a process of a container finds the program it names: `mesh` is ours wherever an image
    /// has it, what is no path is looked up in `path`.
    pub(super) fn program(&self, name: &str, path: &str) -> PathBuf {
        let found = process::which(&self.images.command(name), path);
        match &self.network {
            Network::Netns(_) if found == self.images.mesh() => container::image_path(&found),
            _ => found,
        }
    }

    /// Value of the variable that marks every process of this agent.
    pub(super) fn marker(&self) -> String {
        self.state_dir.display().to_string()
    }
}

/// What is running where, by uid; written by the workers, read by `/state` and the logs.
#[derive(Clone, Debug, Default)]
pub(super) struct Board(Arc<Mutex<BTreeMap<String, Line>>>);

/// One pod on the board.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Line {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) ip: Option<Ipv4Addr>,
    pub(super) phase: String,
    pub(super) containers: BTreeMap<String, Spot>,
}

/// One container on the board.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Spot {
    pub(super) attempt: u32,
    pub(super) pid: Option<i32>,
    pub(super) ready: bool,
}

impl Board {
    /// Replaces a pod's line.
    pub(super) fn put(&self, uid: &str, line: Line) {
        self.0.lock().insert(uid.to_owned(), line);
    }

    /// The pod is no more.
    pub(super) fn remove(&self, uid: &str) {
        self.0.lock().remove(uid);
    }

    /// The pod of this name, with its uid; the live one if two share the name.
    pub(super) fn find(&self, namespace: &str, name: &str) -> Option<(String, Line)> {
        let lines = self.0.lock();
        let mut named = lines
            .iter()
            .filter(|(_, l)| l.namespace == namespace && l.name == name);
        named
            .next_back()
            .map(|(uid, line)| (uid.clone(), line.clone()))
    }

    /// Whether this very run of a container is alive.
    pub(super) fn is_alive(&self, uid: &str, container: &str, attempt: u32) -> bool {
        let lines = self.0.lock();
        let spot = lines.get(uid).and_then(|l| l.containers.get(container));
        spot.is_some_and(|s| s.attempt == attempt && s.pid.is_some())
    }

    /// For `/state`.
    pub(super) fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(&*self.0.lock()).unwrap_or_default()
    }
}
