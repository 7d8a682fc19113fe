//! A child process with a log, that can be stopped and started again.

use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// It ends when this is dropped; when this process is killed the reaper ends it.
pub struct Daemon {
    program: PathBuf,
    args: Vec<String>,
    mark: (&'static str, PathBuf),
    log: PathBuf,
    child: Option<Child>,
}

impl Daemon {
    /// Starts it with a mark in its environment.
    pub fn start(program: &Path, args: &[String], mark: (&'static str, &Path), log: &Path) -> Self {
        let mut daemon = Self {
            program: program.to_owned(),
            args: args.to_vec(),
            mark: (mark.0, mark.1.to_owned()),
            log: log.to_owned(),
            child: None,
        };
        daemon.restart();
        daemon
    }

    /// Starts it again, if it does not run.
    pub fn restart(&mut self) {
        self.stop();
        std::fs::create_dir_all(self.log.parent().unwrap()).unwrap();
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .unwrap();
        let child = Command::new(&self.program)
            .args(&self.args)
            .env(self.mark.0, &self.mark.1)
            .env("MESH_LOG_FORMAT", "plain")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    /// Has its next start have a flag, or not.
    pub fn set_flag(&mut self, flag: &str, on: bool) {
        self.args.retain(|arg| arg != flag);
        if on {
            self.args.push(flag.to_owned());
        }
    }

    /// Kills it, if it runs.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _gone_already = child.kill();
            let _status = child.wait();
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid() {
            let _gone_already = kill_process(pid, signal);
        }
    }

    /// Its process.
    pub fn pid(&self) -> Option<Pid> {
        Pid::from_raw(self.child.as_ref()?.id().cast_signed())
    }

    /// Fails with the end of its log if it ended.
    pub fn check(&mut self) {
        let Some(child) = &mut self.child else { return };
        if let Some(status) = child.try_wait().unwrap() {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines[lines.len().saturating_sub(15)..].join("\n");
            panic!("{} ended ({status}):\n{last}", self.log.display());
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop();
    }
}
