//! Requests: closed loop at several connection counts, and at a fixed rate.

use std::{thread::sleep, time::Instant};

use super::{Contender, Times, cpu_each, note_memory};
use crate::{
    load::{Load, Protocol},
    sheet::{Sheet, figure},
};

/// Requests a second of the fixed-rate case, and over how many connections they are spread.
const RATE: u32 = 1000;
const RATE_CONNECTIONS: usize = 32;

/// One request after the other on each connection.
pub(crate) fn requests(
    sheet: &mut Sheet,
    times: Times,
    who: &mut Contender<'_>,
    protocol: Protocol,
) -> anyhow::Result<()> {
    let name = match protocol {
        Protocol::Http2 => "http2",
        Protocol::Grpc => "grpc",
        _ => "http1",
    };
    for &connections in times.connections {
        let case = format!("{name}/{connections}");
        measure(sheet, times, who, (&case, protocol, connections))?;
    }
    Ok(())
}

/// Requests when they are due, whatever became of those before.
pub(crate) fn rate(sheet: &mut Sheet, times: Times, who: &mut Contender<'_>) -> anyhow::Result<()> {
    let case = ("rate/1000", Protocol::Http1Rate(RATE), RATE_CONNECTIONS);
    measure(sheet, times, who, case)
}

/// Runs one load and notes what it cost and how long requests took.
pub(super) fn measure(
    sheet: &mut Sheet,
    times: Times,
    who: &mut Contender<'_>,
    (case, protocol, connections): (&str, Protocol, usize),
) -> anyhow::Result<()> {
    let load = Load::start(protocol, who.routes.of(protocol), connections)?;
    sleep(times.warm);
    let (before, sent, since) = (who.usage()?, load.requests(), Instant::now());
    load.mark();
    sleep(times.measure);
    let (after, answered) = (who.usage()?, load.requests());
    let (requests, elapsed) = (answered - sent, since.elapsed());
    let latencies = load.stop()?;
    let quantile = |q| latencies.value_at_quantile(q) as f64;
    let name = who.name;
    if who.pair.is_some() {
        let (client, server) = cpu_each(before, after, requests)?;
        sheet.note(case, figure::CPU, name, client + server);
        sheet.note(case, figure::CPU_CLIENT, name, client);
        sheet.note(case, figure::CPU_SERVER, name, server);
        if protocol == Protocol::Http1 {
            let figures = [figure::RSS_CLIENT, figure::RSS_SERVER];
            note_memory(sheet, case, name, after, figures);
        }
    }
    if !matches!(protocol, Protocol::Http1Rate(_)) {
        let rate = requests as f64 / elapsed.as_secs_f64();
        sheet.note(case, figure::RATE, name, rate);
    }
    sheet.note(case, figure::P50, name, quantile(0.5));
    sheet.note(case, figure::P99, name, quantile(0.99));
    if matches!(protocol, Protocol::Http1Rate(_)) {
        sheet.note(case, figure::P999, name, quantile(0.999));
    }
    Ok(())
}
