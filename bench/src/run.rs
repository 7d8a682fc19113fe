//! One run: each contender in turn, case by case.

use std::{path::Path, time::Instant};

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use stage::ControlPlane;

use crate::{
    Options, Peer, app,
    cases::{self, Case, Contender, Times},
    load::{Protocol, Route},
    pair::{self, Pair, Routes, Sidecars, Stage},
    place::{Host, Place},
    setup,
    sheet::{DIRECT, OURS, Sheet},
};

/// A stock sidecar to measure as well.
const STOCK: &str = "LINKERD2_PROXY";
/// Files that ten thousand connections take in one process, and some more.
const FILES: u64 = 32_768;

/// Measures what was asked for; `binary` is our proxy. Also says who could not be measured, and
/// why.
pub(crate) fn run(options: &Options, binary: &Path) -> anyhow::Result<(Sheet, Vec<String>)> {
    let stock = std::env::var_os(STOCK).map(std::path::PathBuf::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let control = runtime.block_on(ControlPlane::start())?;
    let place = Place::new(&control.issuer, &control.anchors, stock.is_some())?;
    app::start(&place)?;
    let stage = Stage {
        place: &place,
        control: &control,
        shim: setup::shim(place.dir())?,
    };
    let mut times = match options.quick {
        true => Times::QUICK,
        false => Times::FULL,
    };
    times.idle = times.idle.min(affordable(raise_file_limit()));
    let mut run = Run {
        options,
        times,
        sheet: Sheet::default(),
        failures: Vec::new(),
        start: Instant::now(),
    };
    for round in 0..options.repeat.max(1) {
        let first = round == 0;
        run.direct(&place)?;
        run.contender(OURS, |run| {
            let mut sidecars = Sidecars::start(&stage, binary)?;
            run.pair(&mut sidecars.pair, first)?;
            match first {
                true => run.ours(&mut sidecars, &stage, binary),
                false => Ok(()),
            }
        });
        for peer in &options.peers {
            run.contender(&format!("{peer:?}"), |run| {
                let mut pair = match peer {
                    Peer::Envoy => pair::envoy(&place, &setup::envoy()?)?,
                    Peer::Haproxy => pair::haproxy(&place, &setup::haproxy()?)?,
                };
                run.pair(&mut pair, first)
            });
        }
        if let Some(stock) = &stock {
            run.contender(STOCK, |run| {
                let stock = std::path::absolute(stock)?;
                run.pair(&mut pair::stock(&stage, &stock)?, first)
            });
        }
    }
    Ok((run.sheet, run.failures))
}

struct Run<'a> {
    options: &'a Options,
    times: Times,
    sheet: Sheet,
    failures: Vec<String>,
    start: Instant,
}

impl Run<'_> {
    fn wants(&self, case: Case) -> bool {
        self.options.cases.is_empty() || self.options.cases.contains(&case)
    }

    fn say(&self, who: &str, what: &str) {
        eprintln!("{:>4} s  {who}: {what}", self.start.elapsed().as_secs());
    }

    /// Measures somebody; what goes wrong costs only the figures that are missing then.
    fn contender(&mut self, name: &str, measure: impl FnOnce(&mut Self) -> anyhow::Result<()>) {
        if let Err(error) = measure(self) {
            eprintln!("{name}: {error:#}");
            self.failures.push(format!("{name}: {error:#}"));
        }
    }

    /// Nobody between client and application.
    fn direct(&mut self, place: &Place) -> anyhow::Result<()> {
        let to = |port| Route {
            to: place.addr(Host::Server, port),
            from: None,
        };
        let routes = Routes {
            http1: to(app::HTTP1),
            http2: to(app::HTTP2),
            bytes: to(app::BYTES),
            clear: to(app::BYTES),
        };
        let who = Contender {
            name: DIRECT,
            routes,
            pair: None,
        };
        self.measure(who, false)
    }

    fn pair(&mut self, pair: &mut Pair, once: bool) -> anyhow::Result<()> {
        let name = pair.name.clone();
        let who = Contender {
            name: &name,
            routes: pair.routes,
            pair: Some(pair),
        };
        self.measure(who, once)
    }

    /// What every contender is measured at. `once`: also what is measured only once.
    fn measure(&mut self, mut who: Contender<'_>, once: bool) -> anyhow::Result<()> {
        use Protocol::{Grpc, Http1, Http2};
        let name = who.name.to_owned();
        let (times, who) = (self.times, &mut who);
        for (case, protocol) in [
            (Case::Http1, Http1),
            (Case::Http2, Http2),
            (Case::Grpc, Grpc),
        ] {
            if self.wants(case) {
                self.say(&name, &format!("{protocol:?}"));
                cases::requests(&mut self.sheet, times, who, protocol)
                    .with_context(|| format!("{name}: {protocol:?}"))?;
            }
        }
        if self.wants(Case::Rate) {
            self.say(&name, "fixed rate");
            let measured = cases::rate(&mut self.sheet, times, who);
            measured.with_context(|| format!("{name}: fixed rate"))?;
        }
        for (case, what, way) in [
            (Case::Tcp, "throughput", ("tcp", who.routes.bytes)),
            (
                Case::Clear,
                "throughput in the clear",
                ("clear", who.routes.clear),
            ),
        ] {
            if self.wants(case) {
                self.say(&name, what);
                let measured = cases::throughput(&mut self.sheet, times, who, way);
                measured.with_context(|| format!("{name}: {what}"))?;
            }
        }
        if self.wants(Case::Connect) {
            self.say(&name, "new connections");
            let measured = cases::connections(&mut self.sheet, times, who);
            measured.with_context(|| format!("{name}: new connections"))?;
        }
        if once && self.wants(Case::Idle) {
            self.say(&name, "idle connections");
            let measured = cases::idle(&mut self.sheet, times, who);
            measured.with_context(|| format!("{name}: idle connections"))?;
        }
        Ok(())
    }

    /// What only ours is measured at.
    fn ours(
        &mut self,
        sidecars: &mut Sidecars,
        stage: &Stage<'_>,
        binary: &Path,
    ) -> anyhow::Result<()> {
        if self.wants(Case::Gateway) {
            self.say("mesh", "a gateway far away");
            let measured = cases::wide(&mut self.sheet, self.times, sidecars, stage, binary);
            measured.context("mesh: a gateway far away")?;
        }
        if self.wants(Case::Growth) {
            self.say("mesh", "routes and endpoints");
            let measured = cases::growth(&mut self.sheet, self.times, sidecars, stage);
            measured.context("mesh: routes and endpoints")?;
        }
        Ok(())
    }
}

/// Allows this process, and those it starts, as many open files as may be; says how many.
fn raise_file_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: Some(FILES),
        maximum: Some(limit.maximum.unwrap_or(FILES).max(FILES)),
    };
    let raised = setrlimit(Resource::Nofile, wanted).or_else(|_| {
        // Only root may have more than it was given.
        let most = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        setrlimit(Resource::Nofile, most)
    });
    match raised {
        Ok(()) => getrlimit(Resource::Nofile).current.unwrap_or(FILES),
        Err(_) => limit.current.unwrap_or(FILES),
    }
}

/// How many idle connections a process can have that needs two files for each.
fn affordable(files: u64) -> usize {
    usize::try_from(files.saturating_sub(1024) / 2).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_connections_fit_the_files() {
        assert_eq!(affordable(21_024), 10_000);
        assert_eq!(affordable(1000), 0);
    }
}
