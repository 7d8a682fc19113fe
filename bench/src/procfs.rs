//! What the kernel says of a process: CPU time and resident memory. Parsing is pure; reading is
//! [`Usage::of`]'s.

use std::{fs, io, time::Duration};

/// What a process has used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    /// In user space and in the kernel on its behalf, all threads.
    pub(crate) cpu: Duration,
    /// Bytes resident now.
    pub(crate) resident: u64,
}

impl Usage {
    /// Of a process that runs.
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        let wrong = |what| io::Error::new(io::ErrorKind::InvalidData, format!("{pid}: {what}"));
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let ticks = ticks(&stat).ok_or_else(|| wrong("its stat makes no sense"))?;
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let rss = kilobytes(&rollup, "Rss").ok_or_else(|| wrong("its smaps_rollup has no Rss"))?;
        let hertz = rustix::param::clock_ticks_per_second().max(1);
        Ok(Self {
            cpu: Duration::from_secs_f64(ticks as f64 / hertz as f64),
            resident: rss * 1024,
        })
    }
}

/// User and system time in `/proc/PID/stat`. The command's name may hold anything, parentheses
/// and spaces included, so fields count from the last parenthesis.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let user: u64 = fields.nth(11)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// One line of `/proc/PID/smaps_rollup`.
fn kilobytes(rollup: &str, name: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| {
        let rest = line.strip_prefix(name)?;
        rest.strip_prefix(':')
    })?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 10 0 0 0 250 75 0 0 20 0 4 0 1 1 1";
        assert_eq!(ticks(stat), Some(325));
        assert_eq!(ticks("42 (x) S 1 2"), None);
        assert_eq!(ticks(""), None);
    }

    #[test]
    fn resident_memory_is_not_mistaken_for_another_line() {
        let rollup = "5581-7ffd ---p 00000000 00:00 0  [rollup]\nRss:      1234 kB\nPss:  7 kB\nRss_x: 9 kB\n";
        assert_eq!(kilobytes(rollup, "Rss"), Some(1234));
        assert_eq!(kilobytes(rollup, "Pss"), Some(7));
        assert_eq!(kilobytes(rollup, "Swap"), None);
    }

    #[test]
    fn this_process_can_be_looked_at() {
        let usage = Usage::of(std::process::id()).unwrap();
        assert!(usage.resident > 100 * 1024);
    }
}
