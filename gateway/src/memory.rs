//! Giving memory back to the system: what only starting needed, and what many connections leave.
//!
//! glibc keeps what was freed below anything still in use: after ten thousand idle connections a
//! sidecar of 16 MB stayed at 131 MB. Code that ran once stays mapped. Started by `serve`; where
//! the allocator or the system is another, it does nothing.

mod mapped;

use std::{convert::Infallible, time::Duration};

use mesh_daemon::readiness::Readiness;
use tokio::runtime::Handle;

/// How often tasks are counted; every connection is at least one.
const LOOK: Duration = Duration::from_secs(5);

/// How long after it became ready a process is done with starting.
const SETTLED: Duration = Duration::from_secs(1);

/// What is known of the tasks of this process.
#[derive(Debug, Default)]
struct Tasks {
    /// The most since memory was last given back.
    peak: usize,
}

impl Tasks {
    /// Fewer than so many leave nothing worth the work.
    const MANY: usize = 512;

    /// Takes in how many there are; `true` if most of many are gone, and the rest has settled
    /// since the look before.
    fn note(&mut self, alive: usize) -> bool {
        if self.peak >= Self::MANY && alive <= self.peak / 4 {
            self.peak = alive;
            return true;
        }
        self.peak = self.peak.max(alive);
        false
    }
}

/// Runs until it is aborted.
pub(crate) async fn give_back(readiness: Readiness) -> Infallible {
    readiness.ready().await;
    tokio::time::sleep(SETTLED).await;
    let_go().await;
    let metrics = Handle::current().metrics();
    let mut tasks = Tasks::default();
    loop {
        tokio::time::sleep(LOOK).await;
        if tasks.note(metrics.num_alive_tasks()) {
            let_go().await;
        }
    }
}

/// Elsewhere: it takes milliseconds, which requests should not wait for.
async fn let_go() {
    let looked_at = tokio::task::spawn_blocking(|| {
        trim();
        mapped::let_go()
    })
    .await;
    tracing::debug!(?looked_at, "gave memory back");
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(
    unsafe_code,
    reason = "a foreign function without arguments that could be wrong"
)]
fn trim() {
    unsafe extern "C" {
        safe fn malloc_trim(pad: usize) -> std::ffi::c_int;
    }
    // Whether anything was given back does not matter.
    let _ = malloc_trim(0);
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_many_is_worth_it_and_only_once() {
        let mut tasks = Tasks::default();
        assert!(!tasks.note(100));
        assert!(!tasks.note(10), "they were few");
        assert!(!tasks.note(10_000));
        assert!(!tasks.note(5_000), "many are left");
        assert!(tasks.note(50));
        assert!(!tasks.note(20));
    }

    #[test]
    fn trimming_leaves_what_is_in_use() {
        let kept = vec![7_u8; 100_000];
        trim();
        assert!(kept.iter().all(|byte| *byte == 7));
    }
}
