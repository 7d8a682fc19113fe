//! Being told to stop: Ctrl-C, SIGTERM, or the terminal going away.
//!
//! Made before anything is started, so that no signal ends the process while it has children.

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that end a run; one that came while nobody waited is not lost.
#[derive(Debug)]
pub(super) struct Interrupt {
    interrupt: Signal,
    terminate: Signal,
    /// None where whoever started us has it ignored, as `nohup` does.
    hangup: Option<Signal>,
}

impl Interrupt {
    /// From now on these signals end nothing by themselves.
    pub(super) fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: match is_ignored(&status, SignalKind::hangup()) {
                true => None,
                false => Some(listen(SignalKind::hangup())?),
            },
        })
    }

    /// Waits for the next.
    pub(super) async fn received(&mut self) {
        let hangup = async {
            match &mut self.hangup {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = hangup => {}
        }
    }
}

/// Whether `/proc/<pid>/status` says that a signal is ignored.
fn is_ignored(status: &str, kind: SignalKind) -> bool {
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let bit = kind.as_raw_value() - 1;
    mask.is_some_and(|mask| mask >> bit & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hangup_that_nohup_ignores_stays_ignored() {
        let hangup = SignalKind::hangup();
        assert!(is_ignored(
            "Name:\tmesh\nSigIgn:\t0000000000001001\n",
            hangup
        ));
        assert!(!is_ignored("SigIgn:\t0000000000001000\n", hangup));
        assert!(!is_ignored("", hangup));
    }
}
