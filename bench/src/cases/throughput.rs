//! Bytes a second for each second of CPU time, and what a new connection costs.

use std::{thread::sleep, time::Instant};

use super::{Contender, Times, mb, requests::measure};
use crate::{
    load::{Protocol, Route, bytes::Flood},
    sheet::{Sheet, figure},
};

/// Connections in each direction.
const FLOODS: usize = 2;
/// Connections that are being made at once.
const CONNECTING: usize = 16;

/// Bytes in both directions at once: through the pair (`tcp`), or the client's side alone (`clear`).
pub(crate) fn throughput(
    sheet: &mut Sheet,
    times: Times,
    who: &mut Contender<'_>,
    (case, route): (&str, Route),
) -> anyhow::Result<()> {
    let flood = Flood::start(route, FLOODS)?;
    sleep(times.warm);
    let (before, moved, since) = (who.usage()?, flood.moved(), Instant::now());
    sleep(times.measure);
    let (after, elapsed) = (who.usage()?, since.elapsed());
    let moved = mb(flood.moved() - moved);
    flood.stop()?;
    sheet.note(case, figure::BYTES, who.name, moved / elapsed.as_secs_f64());
    if who.pair.is_some() {
        let cpu = |before: crate::procfs::Usage, after: crate::procfs::Usage| {
            after.cpu.saturating_sub(before.cpu).as_secs_f64()
        };
        let cpu = cpu(before.client, after.client) + cpu(before.server, after.server);
        sheet.note(case, figure::PER_CPU, who.name, moved / cpu.max(1e-6));
    }
    Ok(())
}

/// New connections, each used once.
pub(crate) fn connections(
    sheet: &mut Sheet,
    times: Times,
    who: &mut Contender<'_>,
) -> anyhow::Result<()> {
    let bytes = ("connect/tcp", Protocol::Connect, CONNECTING);
    measure(sheet, times, who, bytes)?;
    let http = ("connect/http1", Protocol::Http1Close, CONNECTING);
    measure(sheet, times, who, http)
}
