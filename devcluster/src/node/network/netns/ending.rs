//! Ending what is left of a run of node agents.

use std::path::Path;
use std::time::{Duration, Instant};

use mesh_contract::env::DEVCLUSTER_RUN;

use super::registry;
use crate::node::process::kill_marked;

/// How long networks may still be in use after the processes of their run were killed.
const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);

/// Ends the processes of the run `run_id`, those that are only just starting included, and removes
/// the networks of its clusters, whose state is below `folder`: for whoever started node agents and is
/// done with them.
pub fn end_run(run_id: &str, folder: &Path) -> anyhow::Result<()> {
    kill_marked(DEVCLUSTER_RUN, run_id, |_| false);
    let deadline = Instant::now() + PATIENCE;
    while registry::has_networks(folder) {
        anyhow::ensure!(
            Instant::now() < deadline,
            "networks of {} are still in use",
            folder.display()
        );
        // A process that has ended may hold its cluster's lock a moment longer.
        registry::sweep()?;
        std::thread::sleep(POLL);
    }
    Ok(())
}
