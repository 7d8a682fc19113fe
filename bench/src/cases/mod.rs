//! What is measured of a pair, case by case.

mod growth;
mod idle;
mod requests;
mod throughput;
mod wide;

use std::time::Duration;

use anyhow::bail;

use crate::{
    pair::{Both, Pair, Routes},
    sheet::Sheet,
};

pub(crate) use growth::growth;
pub(crate) use idle::idle;
pub(crate) use requests::{rate, requests};
pub(crate) use throughput::{connections, throughput};
pub(crate) use wide::wide;

/// A case, by its name on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Case {
    /// HTTP/1.1 at 1, 8, 32 and 256 connections.
    Http1,
    /// HTTP/2 at as many, one stream at a time on each.
    Http2,
    /// gRPC, unary, likewise.
    Grpc,
    /// HTTP/1.1 at 1,000 requests a second, latency counted from when each was due.
    Rate,
    /// Bytes in both directions.
    Tcp,
    /// The same through the client's side alone, to a target without TLS.
    Clear,
    /// New connections, of bytes and of HTTP/1.1.
    Connect,
    /// Ten thousand connections that say nothing.
    Idle,
    /// One HTTP/2 stream through a gateway that is far away.
    Gateway,
    /// The cost of a request as routes and endpoints grow.
    Growth,
}

/// How long each case takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// Before anything counts.
    pub(crate) warm: Duration,
    /// What counts.
    pub(crate) measure: Duration,
    /// Connection counts.
    pub(crate) connections: &'static [usize],
    /// Idle connections.
    pub(crate) idle: usize,
}

impl Times {
    pub(crate) const FULL: Self = Self {
        warm: Duration::from_millis(1000),
        measure: Duration::from_millis(4000),
        connections: &[1, 8, 32, 256],
        idle: 10_000,
    };
    pub(crate) const QUICK: Self = Self {
        warm: Duration::from_millis(500),
        measure: Duration::from_millis(1500),
        connections: &[1, 8, 32, 256],
        idle: 10_000,
    };
}

/// Somebody who is measured: a pair, or nobody between client and application.
pub(crate) struct Contender<'a> {
    pub(crate) name: &'a str,
    pub(crate) routes: Routes,
    pub(crate) pair: Option<&'a mut Pair>,
}

impl Contender<'_> {
    /// What its proxies have used so far.
    fn usage(&mut self) -> anyhow::Result<Both> {
        match &mut self.pair {
            Some(pair) => pair.usage(),
            None => Ok(Both::default()),
        }
    }
}

/// CPU time of each side between two looks, in microseconds for each of so many.
fn cpu_each(before: Both, after: Both, count: u64) -> anyhow::Result<(f64, f64)> {
    if count == 0 {
        bail!("nothing passed");
    }
    let each = |before: Duration, after: Duration| {
        after.saturating_sub(before).as_secs_f64() * 1e6 / count as f64
    };
    Ok((
        each(before.client.cpu, after.client.cpu),
        each(before.server.cpu, after.server.cpu),
    ))
}

/// Bytes as megabytes.
fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Notes what is only known of somebody with proxies.
fn note_memory(sheet: &mut Sheet, case: &str, name: &str, usage: Both, figures: [&'static str; 2]) {
    sheet.note(case, figures[0], name, mb(usage.client.resident));
    sheet.note(case, figures[1], name, mb(usage.server.resident));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::procfs::Usage;

    #[test]
    fn cpu_is_shared_out_among_requests() {
        let side = |ms| Usage {
            cpu: Duration::from_millis(ms),
            resident: 0,
        };
        let before = Both {
            client: side(100),
            server: side(50),
        };
        let after = Both {
            client: side(160),
            server: side(80),
        };
        assert_eq!(cpu_each(before, after, 1000).unwrap(), (60.0, 30.0));
        assert!(cpu_each(before, after, 0).is_err());
    }
}
