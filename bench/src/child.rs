//! A process under test: started in a folder of the run, measured, and ended with its owner.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child as Process, Command, Stdio},
};

use anyhow::{Context, bail};

use crate::procfs::Usage;

/// A process that ends when this is dropped, and when this process dies.
pub(crate) struct Child {
    name: String,
    log: PathBuf,
    process: Process,
}

impl Child {
    /// Starts it; what it prints goes to `NAME.log` in `dir`. Call it from the main thread: the
    /// kernel ends the process when the thread that started it ends.
    pub(crate) fn start(name: &str, dir: &Path, command: &Command) -> anyhow::Result<Self> {
        evict(Path::new(command.get_program()));
        let log = dir.join(format!("{name}.log"));
        let file = File::create(&log)?;
        let mut guarded = Command::new("setpriv");
        guarded.args(["--pdeathsig", "KILL", "--"]);
        guarded.arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => guarded.env(key, value),
                None => guarded.env_remove(key),
            };
        }
        let process = guarded
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {name} with setpriv (util-linux)"))?;
        Ok(Self {
            name: name.to_owned(),
            log,
            process,
        })
    }

    /// What it has used so far; an error with the end of its log if it is gone.
    pub(crate) fn usage(&mut self) -> anyhow::Result<Usage> {
        if let Some(status) = self.process.try_wait()? {
            bail!("{} ended: {status}\n{}", self.name, self.tail());
        }
        Ok(Usage::of(self.process.id())?)
    }

    /// The end of what it printed.
    pub(crate) fn tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

/// Has a program come from the disk, as on a node that pulled its image a while ago. In how large
/// pieces its file is cached, and so mapped, otherwise depends on who wrote it and when: that alone
/// is more than a megabyte of resident memory. Pages that a running process has mapped stay.
fn evict(program: &Path) {
    let evicted = File::open(program).and_then(|file| {
        file.sync_all()?;
        let advice = rustix::fs::Advice::DontNeed;
        Ok(rustix::fs::fadvise(&file, 0, None, advice)?)
    });
    if let Err(error) = evicted {
        eprintln!("{}: not read anew: {error}", program.display());
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
