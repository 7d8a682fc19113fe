//! The process itself: how many files it may open, and its metrics.
//!
//! The limit is raised by `main`. Metrics are registered by whoever builds the admin registry and
//! read from `/proc/self` at each scrape; what cannot be read is left out.

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};
use std::{fs, time::SystemTime};

/// Linux reports CPU time to user space in hundredths of a second on every architecture.
const TICKS_PER_SECOND: f64 = 100.0;

/// Each connection is an open file, and many systems still start processes with a limit of 1024,
/// which a failover exceeds in a moment. The hard limit is what the administrator meant.
pub fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.unwrap_or(ENOUGH_FILES);
    if current.is_none_or(|current| current >= wanted) {
        return;
    }
    let raised = Rlimit {
        current: Some(wanted),
        maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, wanted, "cannot raise the limit of open files");
    }
}

/// Where there is no limit.
const ENOUGH_FILES: u64 = 1 << 20;

/// Registers `process_*`.
pub fn register(registry: &mut Registry) {
    let started = now();
    registry.register_collector(Box::new(Process { started }));
}

#[derive(Debug)]
struct Process {
    /// When this was registered, which is when the process started, to a moment.
    started: f64,
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let now = now();
        let (received, sent) = octets().unzip();
        let counters = [
            (
                "process_cpu_seconds",
                "User and system CPU time",
                cpu_seconds(),
            ),
            (
                "process_uptime_seconds",
                "Time since the start",
                Some((now - self.started).max(0.0)),
            ),
            (
                "process_network_receive_bytes",
                "Bytes received in the process's network namespace",
                received,
            ),
            (
                "process_network_transmit_bytes",
                "Bytes sent in the process's network namespace",
                sent,
            ),
        ];
        for (name, help, value) in counters {
            let Some(value) = value else { continue };
            let counter = ConstCounter::new(value);
            let metric = encoder.encode_descriptor(name, help, None, counter.metric_type())?;
            counter.encode(metric)?;
        }
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let gauges = [
            (
                "process_start_time_seconds",
                "Start, in seconds since the epoch",
                Some(self.started),
            ),
            (
                "process_clock_time_seconds",
                "Current system time, in seconds since the epoch",
                Some(now),
            ),
            (
                "process_resident_memory_bytes",
                "Resident memory",
                kib(&status, "VmRSS:"),
            ),
            (
                "process_virtual_memory_bytes",
                "Virtual memory",
                kib(&status, "VmSize:"),
            ),
            ("process_threads", "Threads", field(&status, "Threads:")),
            ("process_open_fds", "Open file descriptors", open_fds()),
            (
                "process_max_fds",
                "Limit of open file descriptors",
                max_fds(),
            ),
        ];
        for (name, help, value) in gauges {
            let Some(value) = value else { continue };
            let gauge = ConstGauge::new(value);
            let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        Ok(())
    }
}

/// In seconds since the epoch.
fn now() -> f64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

/// What IP received and sent.
fn octets() -> Option<(f64, f64)> {
    let text = fs::read_to_string("/proc/self/net/netstat").ok()?;
    let value = |key| ip_ext(&text, key);
    Some((value("InOctets")?, value("OutOctets")?))
}

/// Of two lines, the first says what the second counts.
fn ip_ext(netstat: &str, key: &str) -> Option<f64> {
    let mut lines = netstat
        .lines()
        .filter_map(|line| line.strip_prefix("IpExt:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let both = names
        .split_ascii_whitespace()
        .zip(values.split_ascii_whitespace());
    let (_, value) = both.into_iter().find(|(name, _)| *name == key)?;
    value.parse().ok()
}

fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the command in parentheses and may contain anything, so count from its
    // end: utime and stime are the 12th and 13th after it.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

fn field(status: &str, key: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

fn kib(status: &str, key: &str) -> Option<f64> {
    field(status, key).map(|kib| kib * 1024.0)
}

fn open_fds() -> Option<f64> {
    Some(fs::read_dir("/proc/self/fd").ok()?.count() as f64)
}

fn max_fds() -> Option<f64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    field(&limits, "Max open files")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In a process of its own, as the limit is every test's.
    #[test]
    fn the_limit_of_open_files_is_raised_to_what_is_allowed() {
        const CHILD: &str = "MESH_TEST_FILE_LIMIT";
        if std::env::var_os(CHILD).is_some() {
            raise_file_limit();
            assert!(max_fds().is_some_and(|limit| limit > 256.0));
            return;
        }
        let this = "process::tests::the_limit_of_open_files_is_raised_to_what_is_allowed";
        let child = std::process::Command::new("sh")
            .args(["-c", "ulimit -S -n 256 && exec \"$0\" --exact \"$1\""])
            .arg(std::env::current_exe().unwrap())
            .arg(this)
            .env(CHILD, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(
            child.status.success() && said.contains("1 passed"),
            "{said}"
        );
    }

    #[test]
    fn every_process_metric_is_there_on_linux() {
        let mut registry = Registry::default();
        register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for name in [
            "process_cpu_seconds_total ",
            "process_uptime_seconds_total ",
            "process_clock_time_seconds ",
            "process_network_receive_bytes_total ",
            "process_network_transmit_bytes_total ",
            "process_start_time_seconds ",
            "process_resident_memory_bytes ",
            "process_virtual_memory_bytes ",
            "process_threads ",
            "process_open_fds ",
            "process_max_fds ",
        ] {
            assert!(text.contains(name), "{name} in {text}");
        }
    }

    #[test]
    fn what_ip_counts_is_found_by_its_name() {
        let netstat = "TcpExt: InOctets\nTcpExt: 1\nIpExt: InNoRoutes InOctets OutOctets\n\
                       IpExt: 0 7000 8000\n";
        assert_eq!(ip_ext(netstat, "InOctets"), Some(7000.0));
        assert_eq!(ip_ext(netstat, "OutOctets"), Some(8000.0));
        assert_eq!(ip_ext(netstat, "Nothing"), None);
        assert_eq!(ip_ext("IpExt: InOctets\n", "InOctets"), None);
    }
}
