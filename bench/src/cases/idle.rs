//! What a connection costs that says nothing, and what is left of it once it is gone.

use std::{thread::sleep, time::Duration};

use super::{Contender, Times, note_memory};
use crate::{
    load::bytes::Idle,
    sheet::{Sheet, figure},
};

/// Opened and closed before anything counts, so that what a proxy keeps anyway is there.
const FIRST: usize = 64;
/// For what is done after a connection was opened, or closed.
const SETTLE: Duration = Duration::from_secs(2);
const AFTERWARDS: Duration = Duration::from_secs(12);

/// Opens connections, looks, closes them, looks again.
pub(crate) fn idle(sheet: &mut Sheet, times: Times, who: &mut Contender<'_>) -> anyhow::Result<()> {
    let route = who.routes.bytes;
    Idle::open(route, FIRST)?.close();
    sleep(SETTLE);
    let before = who.usage()?;
    let open = Idle::open(route, times.idle)?;
    sleep(SETTLE);
    let with = who.usage()?;
    let each =
        |before: u64, with: u64| with.saturating_sub(before) as f64 / 1024.0 / open.len() as f64;
    let client = each(before.client.resident, with.client.resident);
    let server = each(before.server.resident, with.server.resident);
    sheet.note("idle", figure::IDLE_CLIENT, who.name, client);
    sheet.note("idle", figure::IDLE_SERVER, who.name, server);
    open.close();
    sleep(AFTERWARDS);
    let after = who.usage()?;
    let figures = [figure::AFTER_CLIENT, figure::AFTER_SERVER];
    note_memory(sheet, "idle", who.name, after, figures);
    Ok(())
}
