//! Child processes that end when this process does, however it does.
//!
//! A small shell stands between: it starts the program and waits on a pipe only this process
//! holds open. A death signal (`PR_SET_PDEATHSIG`) would follow the death of the *thread* that
//! started the child, and test harnesses start children from threads that end.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

/// `$@` runs; whoever reads the end of the pipe, or the program's end, ends both.
const GUARD: &str = r#"
exec 3<&0 </dev/null
"$@" 3<&- &
program=$!
echo $program >"$PIDFILE"
{ cat <&3 >/dev/null; kill -KILL $program 2>/dev/null; } &
exec 3<&-
wait $program
"#;

/// A program that runs.
#[derive(Debug)]
pub(super) struct Guarded {
    name: &'static str,
    guard: Child,
    /// Closing it ends the program.
    pipe: Option<ChildStdin>,
    pidfile: PathBuf,
    log: PathBuf,
}

impl Guarded {
    /// Starts a program; its output is kept in `<dir>/<name>.log`.
    pub(super) fn start(
        name: &'static str,
        program: &Path,
        args: &[String],
        dir: &Path,
    ) -> io::Result<Self> {
        let (log, pidfile) = (
            dir.join(format!("{name}.log")),
            dir.join(format!("{name}.pid")),
        );
        let output = File::options().create(true).append(true).open(&log)?;
        let _ = std::fs::remove_file(&pidfile); // of an earlier start
        let mut guard = Command::new("sh")
            .args(["-c", GUARD, "guard"])
            .arg(program)
            .args(args)
            .env("PIDFILE", &pidfile)
            .current_dir(dir)
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()?;
        let pipe = guard.stdin.take();
        Ok(Self {
            name,
            guard,
            pipe,
            pidfile,
            log,
        })
    }

    /// Fails, with the last lines it logged, if it ended.
    pub(super) fn check(&mut self) -> Result<(), String> {
        match self.guard.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(format!("{} ended ({status}):\n{}", self.name, self.tail())),
            Err(error) => Err(format!("{}: {error}", self.name)),
        }
    }

    /// The last lines it logged.
    pub(super) fn tail(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    /// Its process id.
    pub(super) fn pid(&self) -> Option<u32> {
        std::fs::read_to_string(&self.pidfile)
            .ok()?
            .trim()
            .parse()
            .ok()
    }

    /// Resident memory, in KiB.
    pub(super) fn memory_kib(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()?)).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }

    /// Kills it and waits until it is gone.
    pub(super) fn stop(&mut self) {
        self.pipe = None;
        let until = Instant::now() + Duration::from_secs(5);
        while matches!(self.guard.try_wait(), Ok(None)) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        // Only a guard that is stuck is still there.
        let _ = self.guard.kill();
        let _ = self.guard.wait();
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.stop();
    }
}
