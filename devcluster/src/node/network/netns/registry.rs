//! The clusters of this machine: a file for each, locked by its agent while that lives.
//!
//! A cluster whose agent is gone is not dead: its pods may run, and its next agent adopts them. It
//! is dead once its folder is gone, or nothing with its mark runs any more; then whoever starts
//! next removes what it left, processes included.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use ipnet::Ipv4Net;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::names::Names;
use crate::node::process::{NODE_MARKER, kill_marked, marked};

const REGISTRY: &str = "/run/mesh/clusters";
/// Held by whoever looks at the others.
const LOCK: &str = "/run/mesh/clusters.lock";

/// What a cluster has on this machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) state_dir: PathBuf,
    pub(super) pods: Ipv4Net,
    pub(super) balancers: Ipv4Net,
}

/// Why a cluster cannot be entered.
#[derive(Debug, thiserror::Error)]
pub(in crate::node) enum RegistryError {
    #[error("cannot use {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("another node agent uses {}", .0.display())]
    Running(PathBuf),
    #[error(
        "{ours} overlaps with {theirs} of the cluster in {}: choose others with --pod-cidr and --lb-cidr",
        .of.display()
    )]
    Overlap {
        ours: Ipv4Net,
        theirs: Ipv4Net,
        of: PathBuf,
    },
    #[error(
        "{ours} overlaps with this machine's route {route:?}: choose others with --pod-cidr and --lb-cidr"
    )]
    Route { ours: Ipv4Net, route: String },
    #[error(transparent)]
    Tool(#[from] super::ToolError),
}

/// The locked file of a live cluster.
#[derive(Debug)]
pub(super) struct Claim {
    _lock: File,
}

/// Enters a cluster, after removing the dead ones.
pub(super) fn claim(names: &Names, entry: &Entry) -> Result<Claim, RegistryError> {
    let _alone = alone()?;
    let path = Path::new(REGISTRY).join(names.id());
    let file = open(&path)?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Err(RegistryError::Running(entry.state_dir.clone()));
    }
    for (other, found) in others(names.id())? {
        if !remove_if_dead(&other, &found)? {
            apart(entry, &found)?;
        }
    }
    routes_apart(names, entry)?;
    let json = serde_json::to_vec(entry).map_err(|e| at(&path)(e.into()))?;
    fs::write(&path, json).map_err(at(&path))?;
    Ok(Claim { _lock: file })
}

/// Removes the dead.
pub(super) fn sweep() -> Result<(), RegistryError> {
    let _alone = alone()?;
    for (names, entry) in others("")? {
        remove_if_dead(&names, &entry)?;
    }
    Ok(())
}

/// Whether a cluster whose state is below `folder` has a network here. Takes no rights to ask.
pub(super) fn has_networks(folder: &Path) -> bool {
    let Ok(entries) = fs::read_dir(REGISTRY) else {
        return false; // no cluster here has ever had one
    };
    entries.flatten().any(|file| {
        let text = fs::read(file.path()).unwrap_or_default();
        let entry = serde_json::from_slice::<Entry>(&text);
        entry.is_ok_and(|entry| entry.state_dir.starts_with(folder))
    })
}

fn alone() -> Result<File, RegistryError> {
    let registry = Path::new(REGISTRY);
    fs::create_dir_all(registry).map_err(at(registry))?;
    let file = open(Path::new(LOCK))?;
    flock(&file, FlockOperation::LockExclusive).map_err(|e| at(Path::new(LOCK))(e.into()))?;
    Ok(file)
}

fn open(path: &Path) -> Result<File, RegistryError> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).read(true);
    options.open(path).map_err(at(path))
}

fn at(path: &Path) -> impl Fn(io::Error) -> RegistryError + '_ {
    |source| RegistryError::Io {
        path: path.to_owned(),
        source,
    }
}

/// The other clusters. A file that says nothing is nobody's: it is filled in while [`LOCK`] is held.
fn others(own: &str) -> Result<Vec<(Names, Entry)>, RegistryError> {
    let registry = Path::new(REGISTRY);
    let entries = fs::read_dir(registry).map_err(at(registry))?.flatten();
    let ids = entries.filter_map(|e| e.file_name().into_string().ok());
    let mut found = Vec::new();
    for names in ids
        .filter(|id| id != own)
        .filter_map(|id| Names::with_id(&id))
    {
        let path = registry.join(names.id());
        let text = fs::read(&path).map_err(at(&path))?;
        match serde_json::from_slice(&text) {
            Ok(entry) => found.push((names, entry)),
            // Its agent gave up before it had anything on the machine.
            Err(_) => fs::remove_file(&path).map_err(at(&path))?,
        }
    }
    Ok(found)
}

/// True if it was, and is gone now.
fn remove_if_dead(names: &Names, entry: &Entry) -> Result<bool, RegistryError> {
    let path = Path::new(REGISTRY).join(names.id());
    let file = open(&path)?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(false);
    }
    let marker = entry.state_dir.display().to_string();
    if entry.state_dir.exists() {
        if !marked(NODE_MARKER, Some(&marker)).is_empty() {
            return Ok(false);
        }
    } else {
        // Nobody can adopt them any more.
        let ended = kill_marked(NODE_MARKER, &marker, |_| false);
        if ended > 0 {
            tracing::warn!(
                state_dir = marker,
                ended,
                "ended processes of a dead cluster"
            );
        }
    }
    tracing::info!(state_dir = marker, "removing the network of a dead cluster");
    super::remove_cluster(names, entry);
    fs::remove_file(&path).map_err(at(&path))?;
    Ok(true)
}

/// Two clusters share no address.
fn apart(ours: &Entry, theirs: &Entry) -> Result<(), RegistryError> {
    for mine in [ours.pods, ours.balancers] {
        for other in [theirs.pods, theirs.balancers] {
            if overlap(mine, other) {
                return Err(RegistryError::Overlap {
                    ours: mine,
                    theirs: other,
                    of: theirs.state_dir.clone(),
                });
            }
        }
    }
    Ok(())
}

/// A cluster takes no address this machine reaches otherwise.
fn routes_apart(names: &Names, entry: &Entry) -> Result<(), RegistryError> {
    let routes = super::ip("-4 -o route show")?;
    let own = format!("dev {}", names.hub());
    for route in routes.lines().filter(|line| !line.contains(&own)) {
        let first = route.split_ascii_whitespace().next().unwrap_or_default();
        let Ok(net) = first.parse::<Ipv4Net>() else {
            continue; // default, or one address
        };
        if let Some(ours) = [entry.pods, entry.balancers]
            .into_iter()
            .find(|o| overlap(*o, net))
        {
            return Err(RegistryError::Route {
                ours,
                route: route.trim().to_owned(),
            });
        }
    }
    Ok(())
}

fn overlap(a: Ipv4Net, b: Ipv4Net) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(pods: &str, balancers: &str) -> Entry {
        Entry {
            state_dir: "/r/x".into(),
            pods: pods.parse().unwrap(),
            balancers: balancers.parse().unwrap(),
        }
    }

    #[test]
    fn clusters_that_overlap_are_told_where() {
        let west = entry("10.244.0.0/16", "10.245.0.0/24");
        assert!(apart(&entry("10.246.0.0/16", "10.245.1.0/24"), &west).is_ok());
        let error = apart(&entry("10.246.0.0/16", "10.244.9.0/24"), &west).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("10.244.9.0/24 overlaps with 10.244.0.0/16"),
            "{text}"
        );
        assert!(text.contains("--lb-cidr"), "{text}");
    }
}
