//! One HTTP/2 stream from another cluster, which is far away.

use std::{path::Path, time::Duration};

use super::{Times, mb};
use crate::{
    load,
    pair::{Sidecars, Stage},
    sheet::{Sheet, figure},
};

/// Round trips between the clusters, in milliseconds.
const ROUND_TRIPS: [u64; 2] = [20, 50];

/// Measures it at each distance.
pub(crate) fn wide(
    sheet: &mut Sheet,
    times: Times,
    sidecars: &mut Sidecars,
    stage: &Stage<'_>,
    binary: &Path,
) -> anyhow::Result<()> {
    for (index, ms) in (0..).zip(ROUND_TRIPS) {
        let round_trip = Duration::from_millis(ms);
        let route = sidecars.far(stage, binary, (index, round_trip))?;
        // A window that follows the link needs a few round trips to find its size.
        let warm = times.warm.max(Duration::from_secs(2));
        let rate = load::stream(route, warm, times.measure)?;
        let case = format!("gateway/{ms}ms");
        sheet.note(&case, figure::BYTES, &sidecars.pair.name, mb(rate as u64));
    }
    Ok(())
}
