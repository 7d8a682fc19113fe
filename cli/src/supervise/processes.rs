//! Finding and signalling the processes of a run by a marker in their environment.
//!
//! The environment is inherited by whatever a process starts, so nothing of a run escapes,
//! whoever started it and whether or not its parent still lives.

use rustix::process::{Pid, Signal, getpid, kill_process};
use std::time::{Duration, Instant};

/// Longest a killed process may take to disappear.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// The live processes that have `NAME=VALUE` in their environment, this one left out.
pub(crate) fn with_marker(marker: &str) -> Vec<Pid> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(Pid::from_raw)
        .filter(|pid| *pid != getpid())
        .filter(|pid| {
            // Unreadable: another user's, or gone. Empty: a zombie.
            let path = format!("/proc/{}/environ", pid.as_raw_nonzero());
            std::fs::read(path).is_ok_and(|environment| {
                environment
                    .split(|byte| *byte == 0)
                    .any(|entry| entry == marker.as_bytes())
            })
        })
        .collect()
}

/// Sends `signal` to all of them; how many got it.
pub(crate) fn signal_all(marker: &str, signal: Signal) -> usize {
    with_marker(marker)
        .into_iter()
        .filter(|pid| kill_process(*pid, signal).is_ok())
        .count()
}

/// Kills them, and those they start meanwhile, until none is left.
pub(crate) fn kill_until_gone(marker: &str) {
    let deadline = Instant::now() + KILL_TIMEOUT;
    while signal_all(marker, Signal::KILL) > 0 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_marked_process_is_found_and_killed_with_what_it_started() {
        let marker = format!("MESH_TEST_MARKER=processes-{}", std::process::id());
        let (name, value) = marker.split_once('=').unwrap();
        let mut shell = Command::new("/bin/sh")
            .args(["-c", "/bin/sleep 600 & /bin/sleep 600"])
            .env(name, value)
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        while with_marker(&marker).len() < 3 && Instant::now() < deadline {
            std::thread::yield_now();
        }
        assert!(with_marker(&marker).len() >= 2);
        kill_until_gone(&marker);
        assert!(!shell.wait().unwrap().success());
        assert!(with_marker(&marker).is_empty());
    }
}
