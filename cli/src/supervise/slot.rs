//! What a run owns on this machine: a folder, and 127.N.0.0/16.
//!
//! A slot is claimed by a file lock, which the kernel releases however its holder ends. Whoever
//! gets the lock of a slot that has a folder knows that its last holder died, and cleans up.

use super::processes;
use anyhow::{Context as _, bail};
use mesh_contract::env;
use rustix::fs::{FlockOperation, flock};
use std::{
    fs::{File, OpenOptions},
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// Second bytes of the addresses; 127.0 is left to everybody else.
const SLOTS: std::ops::RangeInclusive<u8> = 16..=120;

/// A claimed slot; free again when this is dropped or its process ends.
#[derive(Debug)]
pub(crate) struct Slot {
    number: u8,
    dir: PathBuf,
    _lock: File,
}

impl Slot {
    /// Claims a free slot below the user's folder for such runs.
    pub(crate) fn claim() -> anyhow::Result<Self> {
        Self::claim_below(&base()?)
    }

    fn claim_below(base: &Path) -> anyhow::Result<Self> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(base)
            .with_context(|| {
                format!(
                    "cannot make the folder {}; set TMPDIR to one that can be written to",
                    base.display()
                )
            })?;
        let mut claimed = None;
        for number in SLOTS {
            let lock_path = base.join(format!("{number}.lock"));
            let used_before = lock_path.exists();
            if claimed.is_some() && !used_before {
                continue;
            }
            let Some(lock) = try_lock(&lock_path)? else {
                continue; // a live run
            };
            let slot = Self {
                number,
                dir: base.join(number.to_string()),
                _lock: lock,
            };
            if used_before {
                slot.remove_leftovers();
            }
            if claimed.is_none() && slot.address_is_free() {
                claimed = Some(slot);
            }
        }
        let Some(slot) = claimed else {
            bail!(
                "every slot of {} is taken: stop another run first",
                base.display()
            );
        };
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&slot.dir)?;
        Ok(slot)
    }

    /// The folder of the run.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// What the run's processes carry in [`env::DEVCLUSTER_RUN`].
    pub(crate) fn run_id(&self) -> String {
        self.dir.display().to_string()
    }

    /// The entry of their environment by which they are found.
    pub(crate) fn marker(&self) -> String {
        format!("{}={}", env::DEVCLUSTER_RUN, self.run_id())
    }

    /// `127.N.third.fourth`.
    pub(crate) fn address(&self, third: u8, fourth: u8) -> Ipv4Addr {
        Ipv4Addr::new(127, self.number, third, fourth)
    }

    /// Kills what a dead run left running. Its logs are kept one run longer.
    fn remove_leftovers(&self) {
        processes::kill_until_gone(&self.marker());
        if self.dir.exists() {
            let previous = self.dir.with_extension("previous");
            let _ = std::fs::remove_dir_all(&previous);
            let _ = std::fs::rename(&self.dir, &previous);
        }
    }

    /// Another user's run is not seen in the locks, but in its listener.
    fn address_is_free(&self) -> bool {
        TcpListener::bind((self.address(25, 1), 6443)).is_ok()
    }
}

fn base() -> anyhow::Result<PathBuf> {
    let uid = rustix::process::getuid().as_raw();
    Ok(match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(dir) if Path::new(&dir).is_dir() => PathBuf::from(dir).join("mesh"),
        _ => std::env::temp_dir().join(format!("mesh-{uid}")),
    })
}

/// The lock, or none where somebody holds it.
fn try_lock(path: &Path) -> anyhow::Result<Option<File>> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot open the lock {}", path.display()))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn two_runs_side_by_side_own_different_addresses() {
        let base = tempfile::tempdir().unwrap();
        let first = Slot::claim_below(base.path()).unwrap();
        let second = Slot::claim_below(base.path()).unwrap();
        assert_ne!(first.address(0, 1), second.address(0, 1));
        assert_ne!(first.dir(), second.dir());
    }

    #[test]
    fn the_next_run_removes_what_a_dead_one_left_running() {
        let base = tempfile::tempdir().unwrap();
        let first = Slot::claim_below(base.path()).unwrap();
        let marker = first.marker();
        let mut left = Command::new("/bin/sleep")
            .arg("600")
            .env(env::DEVCLUSTER_RUN, first.run_id())
            .spawn()
            .unwrap();
        drop(first); // as the kernel does when the process is killed
        let second = Slot::claim_below(base.path()).unwrap();
        assert!(!left.wait().unwrap().success());
        assert!(processes::with_marker(&marker).is_empty());
        assert_eq!(std::fs::read_dir(second.dir()).unwrap().count(), 0);
    }

    #[test]
    fn a_live_run_is_left_alone() {
        let base = tempfile::tempdir().unwrap();
        let first = Slot::claim_below(base.path()).unwrap();
        std::fs::write(first.dir().join("mine"), "").unwrap();
        let _second = Slot::claim_below(base.path()).unwrap();
        assert!(first.dir().join("mine").exists());
    }
}
