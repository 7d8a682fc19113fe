//! Processes of one devcluster run: started, watched, and all stopped at the end.
//!
//! Used by `mesh demo`. A run owns a [`slot::Slot`] (a folder and a part of 127.0.0.0/8) for as
//! long as its process lives, so that runs side by side do not meet, and what a killed run left
//! behind is found and removed by the next one.

pub(crate) mod processes;
pub(crate) mod slot;

use anyhow::Context as _;
use mesh_contract::env;
use rustix::process::Signal;
use slot::Slot;
use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::{process::Command, sync::mpsc};

/// How long processes get to stop on their own.
const GRACE: Duration = Duration::from_secs(3);

/// A child that ended although nobody asked it to.
#[derive(Debug)]
pub(crate) struct Died {
    /// `west/apiserver`.
    pub(crate) name: String,
    /// Exit code or signal.
    pub(crate) status: String,
}

/// The children of this process.
#[derive(Debug)]
pub(crate) struct Supervisor {
    slot: Slot,
    died: mpsc::UnboundedSender<Died>,
    /// What each child was started with, to start it again.
    commands: Mutex<BTreeMap<String, Vec<String>>>,
}

/// Tells which children end although nobody asked them to.
#[derive(Debug)]
pub(crate) struct Deaths(mpsc::UnboundedReceiver<Died>);

impl Deaths {
    /// Waits for the next.
    pub(crate) async fn next(&mut self) -> Died {
        match self.0.recv().await {
            Some(died) => died,
            None => std::future::pending().await, // the supervisor is gone, and its children too
        }
    }
}

impl Supervisor {
    /// Claims a slot, after removing what dead runs left behind.
    pub(crate) fn start() -> anyhow::Result<(Self, Deaths)> {
        let slot = Slot::claim()?;
        let (died, deaths) = mpsc::unbounded_channel();
        let commands = Mutex::default();
        Ok((
            Self {
                slot,
                died,
                commands,
            },
            Deaths(deaths),
        ))
    }

    /// What this run owns.
    pub(crate) fn slot(&self) -> &Slot {
        &self.slot
    }

    /// Where every process logs.
    pub(crate) fn logs(&self) -> PathBuf {
        self.slot.dir().join("logs")
    }

    /// Starts this very program with `args`; its output goes to `logs/<name>.log`.
    pub(crate) fn spawn(&self, name: &str, args: &[String]) -> anyhow::Result<()> {
        let exe = std::env::current_exe().context("cannot find this program's own file")?;
        let log = log_file(&self.logs(), name)?;
        let mut child = Command::new(exe)
            .args(args)
            .env(env::DEVCLUSTER_RUN, self.slot.run_id())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0) // Ctrl-C reaches this process, which stops the others in order
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        self.commands().insert(name.to_owned(), args.to_vec());
        let (died, name) = (self.died.clone(), name.to_owned());
        tokio::spawn(async move {
            let status = match child.wait().await {
                Ok(status) => status.to_string(),
                Err(error) => error.to_string(),
            };
            let _ = died.send(Died { name, status });
        });
        Ok(())
    }

    /// Starts a child that ended again, as it was started before.
    pub(crate) fn respawn(&self, name: &str) -> anyhow::Result<()> {
        let args = self.commands().get(name).cloned();
        self.spawn(
            name,
            &args.with_context(|| format!("{name} was never started"))?,
        )
    }

    fn commands(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Vec<String>>> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops every process of the run: those started here, and the pods their node agents run.
    pub(crate) async fn stop(&self) {
        let marker = self.slot.marker();
        processes::signal_all(&marker, Signal::TERM);
        let deadline = Instant::now() + GRACE;
        while !processes::with_marker(&marker).is_empty() {
            if Instant::now() >= deadline {
                processes::signal_all(&marker, Signal::KILL);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Removes the run's folder; kept after a failure, where its logs are wanted.
    pub(crate) fn remove_files(&self) {
        let _ = std::fs::remove_dir_all(self.slot.dir());
    }
}

impl Drop for Supervisor {
    /// Whatever way this process leaves, nothing of the run stays.
    fn drop(&mut self) {
        processes::kill_until_gone(&self.slot.marker());
    }
}

fn log_file(logs: &Path, name: &str) -> anyhow::Result<File> {
    let path = logs.join(format!("{}.log", name.replace('/', "-")));
    std::fs::create_dir_all(logs)?;
    let log = File::options().create(true).append(true).open(&path);
    log.with_context(|| format!("cannot write the log {}", path.display()))
}
