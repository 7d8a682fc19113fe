//! How the cost of a request grows with what the control plane says: routes and endpoints.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::bail;

use super::{Contender, Times, requests::measure};
use crate::{
    load::{Load, Protocol, Route},
    pair::{Pair, Sidecars, Stage, growth as script},
    sheet::Sheet,
};

const CONNECTIONS: usize = 32;
const ROUTES: [usize; 4] = [1, 10, 100, 1000];
const ENDPOINTS: [usize; 5] = [1, 10, 100, 1000, 10_000];

/// Measures requests that take the last of so many routes, and that have so many endpoints to
/// choose from.
pub(crate) fn growth(
    sheet: &mut Sheet,
    times: Times,
    sidecars: &mut Sidecars,
    stage: &Stage<'_>,
) -> anyhow::Result<()> {
    let routes = ROUTES.map(|n| (format!("routes/{n}"), script::routes(stage, n)));
    let endpoints = ENDPOINTS.map(|n| (format!("endpoints/{n}"), script::endpoints(stage, n)));
    for (case, route) in routes.into_iter().chain(endpoints) {
        let mut through = sidecars.pair.routes;
        through.http1 = route;
        settle(&mut sidecars.pair, route)?;
        let name = sidecars.pair.name.clone();
        let mut who = Contender {
            name: &name,
            routes: through,
            pair: Some(&mut sidecars.pair),
        };
        measure(
            sheet,
            times,
            &mut who,
            (&case, Protocol::Http1, CONNECTIONS),
        )?;
    }
    Ok(())
}

/// Waits until requests pass and the proxies have made the connections they keep ready: what is
/// measured is what requests cost, not what a beginning does.
fn settle(pair: &mut Pair, route: Route) -> anyhow::Result<()> {
    const LIMIT: Duration = Duration::from_secs(60);
    const LOOK: Duration = Duration::from_millis(500);
    let start = Instant::now();
    let load = Load::start(Protocol::Http1, route, 1)?;
    while load.requests() == 0 {
        if start.elapsed() > LIMIT {
            bail!("no request passed within {LIMIT:?}");
        }
        sleep(LOOK);
    }
    // It may have waited longer than a request should: only whether it passed matters.
    let _ = load.stop();
    let busy = |pair: &mut Pair| Ok::<_, anyhow::Error>(pair.usage()?.client.cpu);
    let mut before = busy(pair)?;
    while start.elapsed() < LIMIT {
        sleep(LOOK);
        let now = busy(pair)?;
        if now.saturating_sub(before) < LOOK / 10 {
            break;
        }
        before = now;
    }
    Ok(())
}
