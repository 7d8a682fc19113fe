//! A terminal of its own for a process (`kubectl exec -t`).

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::super::process::{Launch, which};

/// The near end of a terminal.
pub(super) struct Terminal(OwnedFd);

/// A new terminal: our end, and the far one three times.
pub(super) fn open() -> io::Result<(Terminal, [Stdio; 3])> {
    let near = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&near)?;
    unlockpt(&near)?;
    let name = ptsname(&near, Vec::new())?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let far = rustix::fs::open(name, flags, Mode::empty())?;
    let (second, third) = (far.try_clone()?, far.try_clone()?);
    Ok((Terminal(near), [far.into(), second.into(), third.into()]))
}

impl Terminal {
    /// Our end, to read from and to write to.
    pub(super) fn ends(&self) -> io::Result<(tokio::fs::File, tokio::fs::File)> {
        let end = || io::Result::Ok(tokio::fs::File::from_std(File::from(self.0.try_clone()?)));
        Ok((end()?, end()?))
    }

    /// Tells the far end how large it is.
    pub(super) fn resize(&self, columns: u16, rows: u16) {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let _nobody_there = tcsetwinsize(self.0.as_fd(), size);
    }
}

/// Makes the terminal the process's own, so that Ctrl-C reaches it: by `setsid`, which every
/// distribution has. Where it is missing the process has a terminal, but no job control.
pub(super) fn own(launch: &mut Launch) {
    launch
        .env
        .entry("TERM".to_owned())
        .or_insert_with(|| "xterm".to_owned());
    let path = std::env::var("PATH").unwrap_or_default();
    let setsid: PathBuf = which(Path::new("setsid"), &path);
    if setsid.is_absolute() {
        launch.called = None;
        let program = std::mem::replace(&mut launch.program, setsid);
        let first = ["--ctty", "--wait"].map(str::to_owned);
        let words = std::mem::take(&mut launch.args);
        launch.args = first
            .into_iter()
            .chain([program.display().to_string()])
            .chain(words)
            .collect();
    }
}
