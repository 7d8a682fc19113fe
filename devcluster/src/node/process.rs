//! Host processes: starting one in its own process group, adopting one, hearing of its end.
//!
//! A process is named by its pid together with the kernel's start time, and held by a pidfd from
//! then on, so that a recycled pid is never signalled. An adopted process is not our child: its
//! end is noticed, its exit code is not known.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open,
    pidfd_send_signal, waitid,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::room::{self, Room};

/// Marks every process of one agent: the value is its state folder.
pub(super) const NODE_MARKER: &str = "MESH_DEVCLUSTER_NODE";

/// A command line, ready to run.
#[derive(Clone, Debug, Default)]
pub(super) struct Launch {
    pub(super) program: PathBuf,
    /// The name it is called by, if that is not where it is.
    pub(super) called: Option<String>,
    pub(super) args: Vec<String>,
    /// All of it: nothing is inherited.
    pub(super) env: BTreeMap<String, String>,
    pub(super) cwd: PathBuf,
    /// Standard output and error are appended here; `None` discards them.
    pub(super) log: Option<PathBuf>,
    pub(super) room: Room,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    Code(i32),
    Signal(i32),
    /// It was not our child.
    Unknown,
}

/// A live process, its group led by it.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: i32,
    /// The kernel's start time, in clock ticks since boot.
    pub(super) ticks: u64,
    raw: Pid,
    fd: AsyncFd<OwnedFd>,
    /// Value of [`NODE_MARKER`], to recognise what is left of the group.
    marker: Option<String>,
}

/// Starts a process. It outlives this one.
pub(super) fn spawn(launch: &Launch) -> io::Result<Process> {
    let mut command = command(launch);
    command.stdin(Stdio::null());
    match &launch.log {
        Some(path) => {
            let file = OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o600)
                .open(path)?;
            command.stdout(file.try_clone()?).stderr(file);
        }
        None => {
            command.stdout(Stdio::null()).stderr(Stdio::null());
        }
    }
    let child = room::spawn(command, &launch.room)?;
    hold_child(&child, launch)
}

/// Starts a process that is talked to: standard input, output and error are as given, and what is
/// piped is in the child.
pub(super) fn converse(launch: &Launch, stdio: [Stdio; 3]) -> io::Result<(Process, Child)> {
    let mut command = command(launch);
    let [stdin, stdout, stderr] = stdio;
    command.stdin(stdin).stdout(stdout).stderr(stderr);
    let child = room::spawn(command, &launch.room)?;
    Ok((hold_child(&child, launch)?, child))
}

fn command(launch: &Launch) -> Command {
    let mut command = Command::new(&launch.program);
    if let Some(name) = &launch.called {
        command.arg0(name);
    }
    command
        .args(&launch.args)
        .env_clear()
        .envs(&launch.env)
        .current_dir(&launch.cwd)
        .process_group(0);
    command
}

/// Not reaped before `exited` does it, so the pid cannot have been recycled.
fn hold_child(child: &Child, launch: &Launch) -> io::Result<Process> {
    let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
    hold(pid, launch.env.get(NODE_MARKER).cloned())
}

/// Takes hold of a process an earlier agent started; `None` if it is gone.
pub(super) fn adopt(pid: i32, ticks: u64, marker: &str) -> Option<Process> {
    let process = hold(pid, Some(marker.to_owned())).ok()?;
    (process.ticks == ticks && !is_zombie(pid)).then_some(process)
}

/// Takes hold of a live process, to be beside it.
pub(super) fn beside(pid: i32) -> io::Result<Process> {
    hold(pid, None)
}

/// The environment and folder of a live process: what an exec probe of an adopted one runs in.
pub(super) fn surroundings(pid: i32) -> Launch {
    let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let pairs = environ.split(|b| *b == 0).filter_map(|var| {
        let (name, value) = std::str::from_utf8(var).ok()?.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    });
    Launch {
        env: pairs.collect(),
        cwd: fs::read_link(format!("/proc/{pid}/cwd"))
            .map_or_else(|_| "/".into(), room::seen_inside),
        ..Launch::default()
    }
}

fn hold(pid: i32, marker: Option<String>) -> io::Result<Process> {
    let raw = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
    let fd = pidfd_open(raw, PidfdFlags::NONBLOCK)?;
    let ticks = start_ticks(pid)?;
    #[allow(
        deprecated,
        reason = "its fault is types that change their descriptor; OwnedFd does not"
    )]
    let fd = AsyncFd::with_interest(fd, Interest::READABLE)?;
    Ok(Process {
        pid,
        ticks,
        raw,
        fd,
        marker,
    })
}

impl Process {
    /// Waits for the end, and ends what is left of its group: a container dies with its first
    /// process.
    pub(super) async fn exited(&self) -> Exit {
        if let Err(error) = self.fd.readable().await {
            tracing::warn!(pid = self.pid, %error, "cannot watch a process");
        }
        self.reap()
    }

    /// Ends what is left of the group and collects the exit status, if there is one already.
    pub(super) fn reap(&self) -> Exit {
        self.sweep_group();
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        match waitid(WaitId::PidFd(self.fd.get_ref().as_fd()), options) {
            Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => Exit::Code(code),
                (_, Some(signal)) => Exit::Signal(signal),
                _ => Exit::Unknown,
            },
            Ok(None) | Err(_) => Exit::Unknown,
        }
    }

    /// SIGTERM to the first process, as a container runtime does it.
    pub(super) fn terminate(&self) {
        let _gone_already = pidfd_send_signal(self.fd.get_ref(), Signal::TERM);
    }

    /// SIGKILL to the first process; the rest follows in `exited`.
    pub(super) fn kill(&self) {
        let _gone_already = pidfd_send_signal(self.fd.get_ref(), Signal::KILL);
    }

    /// Our own child is a zombie until `waitid`, which keeps its pid reserved. An adopted one may
    /// have been reaped, so its group is only touched where the marker says that it is ours.
    fn sweep_group(&self) {
        let ours = is_zombie(self.pid)
            || marked(NODE_MARKER, self.marker.as_deref())
                .iter()
                .any(|left| left.group == self.pid);
        if ours {
            let _nobody_left = kill_process_group(self.raw, Signal::KILL);
        }
    }
}

/// A process found by an environment variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marked {
    pub(crate) pid: i32,
    pub(crate) group: i32,
}

/// Our own processes whose environment has `name` (with `value`, if given).
///
/// Only processes whose environment we may read are seen, and those are this user's.
pub(crate) fn marked(name: &str, value: Option<&str>) -> Vec<Marked> {
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let wanted = value.map(|v| format!("{name}={v}").into_bytes());
    let prefix = format!("{name}=").into_bytes();
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| *pid != own)
        .filter(|pid| {
            environ(*pid).split(|b| *b == 0).any(|var| match &wanted {
                Some(wanted) => var == wanted.as_slice(),
                None => var.starts_with(&prefix),
            })
        })
        .filter_map(|pid| {
            Some(Marked {
                pid,
                group: stat(pid).ok()?.group,
            })
        })
        .collect()
}

/// A process's environment; empty if it has none, or may not be read.
///
/// A process that is just becoming another program (between `execve` and its first instruction) has
/// neither environment nor command line: it is looked at until it has become it.
fn environ(pid: i32) -> Vec<u8> {
    let deadline = Instant::now() + BECOMING;
    let mut without = 0;
    loop {
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let over = !environ.is_empty() || without == CERTAIN || Instant::now() > deadline;
        if over || stat(pid).map_or(true, |s| s.kernel || is_over(s.state)) {
            return environ;
        }
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if words.is_empty() {
            std::thread::yield_now();
        } else {
            // It has become it meanwhile, or was started without an environment.
            without += 1;
        }
    }
}

/// How long a process may take to become another program.
const BECOMING: Duration = Duration::from_millis(200);
/// So often a process must have shown a command line and no environment to be without one.
const CERTAIN: usize = 8;
/// How long killed processes may take to end.
const ENDING: Duration = Duration::from_secs(10);

/// SIGKILL to the marked processes that `spare` does not name, until two looks in a row find none
/// (one may pass by a process that is started meanwhile); how many there were.
pub(super) fn kill_marked(name: &str, value: &str, spare: impl Fn(Marked) -> bool) -> usize {
    let deadline = Instant::now() + ENDING;
    let (mut ended, mut nothing) = (BTreeSet::new(), 0);
    while nothing < 2 && Instant::now() < deadline {
        nothing += 1;
        for process in marked(name, Some(value)) {
            if spare(process) {
                continue;
            }
            nothing = 0;
            ended.insert(process.pid);
            if let Some(pid) = Pid::from_raw(process.pid) {
                let _gone_already = rustix::process::kill_process(pid, Signal::KILL);
            }
        }
    }
    if nothing < 2 {
        tracing::warn!(
            name,
            value,
            "marked processes are still there after they were killed"
        );
    }
    ended.len()
}

struct Stat {
    state: char,
    group: i32,
    /// It is the kernel's, and no program.
    kernel: bool,
    ticks: u64,
}

/// Of a thread of the kernel (`PF_KTHREAD`).
const KERNEL: u64 = 0x0020_0000;

fn stat(pid: i32) -> io::Result<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse_stat(&text).ok_or_else(|| io::Error::other("unexpected /proc/<pid>/stat"))
}

/// The command in field 2 may hold anything, so the rest is counted from its last parenthesis.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let group = fields.nth(1)?.parse().ok()?;
    let flags: u64 = fields.nth(3)?.parse().ok()?;
    let ticks = fields.nth(12)?.parse().ok()?;
    Some(Stat {
        state,
        group,
        kernel: flags & KERNEL != 0,
        ticks,
    })
}

/// The kernel's start time of a process.
pub(super) fn start_ticks(pid: i32) -> io::Result<u64> {
    stat(pid).map(|s| s.ticks)
}

fn is_zombie(pid: i32) -> bool {
    stat(pid).is_ok_and(|s| is_over(s.state))
}

/// Of a process that has ended, though somebody has not heard of it yet.
fn is_over(state: char) -> bool {
    matches!(state, 'Z' | 'X')
}

/// Looks a program up the way a shell would.
pub(super) fn which(program: &Path, path: &str) -> PathBuf {
    if program.components().count() != 1 || program.is_absolute() {
        return program.to_owned();
    }
    std::env::split_paths(&OsString::from(path))
        .map(|dir| dir.join(program))
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| program.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, marker: &str) -> Launch {
        Launch {
            program: "/bin/sh".into(),
            called: None,
            args: vec!["-c".into(), script.into()],
            env: BTreeMap::from([
                (NODE_MARKER.to_owned(), marker.to_owned()),
                ("PATH".to_owned(), "/usr/bin:/bin".to_owned()),
            ]),
            cwd: "/".into(),
            log: None,
            room: Room::Machine,
        }
    }

    #[test]
    fn the_command_in_stat_may_contain_parentheses() {
        let text = "12 (a) b (c)) S 1 34 34 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 777 1 1";
        let stat = parse_stat(text).unwrap();
        assert_eq!((stat.state, stat.group, stat.ticks), ('S', 34, 777));
        assert!(!stat.kernel);
        let text = "9 (k) S 2 0 0 0 -1 69238880 0 0 0 0 0 0 0 0 20 0 1 0 8 0 0";
        assert!(parse_stat(text).unwrap().kernel);
        assert!(parse_stat("12 (a").is_none());
    }

    #[tokio::test]
    async fn a_child_ends_with_its_code_or_its_signal() {
        let marker = "process-test-exit";
        assert_eq!(
            spawn(&sh("exit 3", marker)).unwrap().exited().await,
            Exit::Code(3)
        );
        let process = spawn(&sh("sleep 100", marker)).unwrap();
        process.kill();
        assert_eq!(process.exited().await, Exit::Signal(9));
    }

    #[tokio::test]
    async fn the_group_ends_with_its_first_process() {
        let marker = format!("process-test-group-{}", std::process::id());
        let process = spawn(&sh("sleep 100 & sleep 100 & wait", &marker)).unwrap();
        while marked(NODE_MARKER, Some(&marker)).len() < 3 {
            tokio::task::yield_now().await;
        }
        process.terminate();
        assert_eq!(process.exited().await, Exit::Signal(15));
        while !marked(NODE_MARKER, Some(&marker)).is_empty() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn only_the_very_same_process_is_adopted() {
        let marker = "process-test-adopt";
        let process = spawn(&sh("sleep 100", marker)).unwrap();
        assert!(adopt(process.pid, process.ticks + 1, marker).is_none());
        let adopted = adopt(process.pid, process.ticks, marker).unwrap();
        adopted.kill();
        assert_eq!(process.exited().await, Exit::Signal(9));
        assert!(adopt(process.pid, process.ticks, marker).is_none());
        // Somebody else has reaped it by now.
        assert_eq!(adopted.exited().await, Exit::Unknown);
    }

    /// Each becomes another program all the time, and has no environment whenever it does.
    #[tokio::test]
    async fn processes_that_are_just_becoming_another_program_are_killed_too() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("again");
        std::fs::write(&script, "exec /bin/sh \"$0\"\n").unwrap();
        let marker = format!("process-test-becoming-{}", std::process::id());
        let again = format!("exec /bin/sh {}", script.display());
        let all: Vec<Process> = (0..32)
            .map(|_| spawn(&sh(&again, &marker)).unwrap())
            .collect();
        assert!(kill_marked(NODE_MARKER, &marker, |_| false) >= all.len());
        let mut left = 0;
        for process in &all {
            let ended = Duration::from_secs(1);
            let ended = tokio::time::timeout(ended, process.exited()).await;
            if ended.is_err() {
                left += 1;
                process.kill();
            }
        }
        assert_eq!(left, 0);
    }

    #[tokio::test]
    async fn marked_processes_are_found_and_killed() {
        let marker = format!("process-test-marked-{}", std::process::id());
        // Not `sleep 100` alone: the shell would become it, and has no environment at that moment.
        let process = spawn(&sh("sleep 100; true", &marker)).unwrap();
        while marked(NODE_MARKER, Some(&marker)).is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(
            kill_marked(NODE_MARKER, &marker, |m| m.group == process.pid),
            0
        );
        assert!(kill_marked(NODE_MARKER, &marker, |_| false) >= 1);
        assert_eq!(process.exited().await, Exit::Signal(9));
    }
}
