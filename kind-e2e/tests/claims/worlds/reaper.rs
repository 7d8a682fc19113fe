//! Nothing outlives the test: this program again, in a process that waits for the test's end.
//!
//! Pods are processes that outlive their node agent, and a test may end by any signal. So it is
//! always the reaper who tidies up, told by the end of a pipe that only the test holds.

use super::Flavour;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

/// Set in the reaper: the world's folder.
const FOLDER: &str = "MESH_CLAIMS_REAPER";
/// Said to the reaper when a world's files are of no more use.
const FORGET: &[u8] = b"forget";

/// Tidies up when it is dropped, or this process ends.
pub struct Reaper {
    child: Child,
    pipe: Option<ChildStdin>,
}

/// A new folder for a world. What earlier runs kept for their readers goes.
pub fn folder(world: &str) -> PathBuf {
    let base = Path::new(env!("CARGO_TARGET_TMPDIR")).join("claims");
    std::fs::create_dir_all(&base).unwrap();
    for old in std::fs::read_dir(&base).unwrap().flatten() {
        let owner = old.file_name().into_string().unwrap_or_default();
        if !Path::new("/proc").join(owner).exists() {
            let _somebody_else_does = std::fs::remove_dir_all(old.path());
        }
    }
    let dir = base.join(std::process::id().to_string()).join(world);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

impl Reaper {
    /// Starts one for the world in this folder.
    pub fn start(dir: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .env(FOLDER, dir)
            .stdin(Stdio::piped())
            .process_group(0) // who interrupts the test does not mean the reaper
            .spawn()
            .unwrap();
        let pipe = child.stdin.take();
        Self { child, pipe }
    }

    /// The files need not be kept.
    pub fn forget_files(&mut self) {
        use std::io::Write as _;
        if let Some(pipe) = &mut self.pipe {
            let _it_keeps_them = pipe.write_all(FORGET);
        }
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        self.pipe = None;
        let _ended = self.child.wait();
    }
}

/// Whether this process is to be one.
pub fn is_asked_for() -> bool {
    std::env::var_os(FOLDER).is_some()
}

/// Waits, and tidies up.
pub fn reap() {
    let dir = PathBuf::from(std::env::var_os(FOLDER).unwrap());
    let mut said = Vec::new();
    let _ended_somehow = std::io::stdin().read_to_end(&mut said);
    if let Err(error) = devcluster::node::end_run(&dir.display().to_string(), &dir) {
        eprintln!("cannot tidy up after {}: {error:#}", dir.display());
    }
    if dir.ends_with(Flavour::Kind.name()) {
        super::kind::delete();
    }
    if said == FORGET {
        let _nobody_reads_them = std::fs::remove_dir_all(&dir);
        let _others_are_there = dir.parent().map(std::fs::remove_dir);
    }
}
