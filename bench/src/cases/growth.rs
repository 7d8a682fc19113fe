//! How the cost of a request grows with what the control plane says: routes and endpoints.

use super::{Contender, Times, requests::measure};
use crate::{
    load::Protocol,
    pair::{Sidecars, Stage, growth as script},
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
