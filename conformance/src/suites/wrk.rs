//! wrk, through both sidecars: nothing may fail under load. How fast it is belongs to `bench/`.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, ensure};
use stage::Pair;
use tokio::process::Command;

use crate::{
    app::App,
    programs,
    report::{Case, Outcome, Report, Suite},
};

const ABOUT: &str = "The machine's wrk for five seconds: no error of a socket, no status but 2xx.";
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) async fn run(report: &mut Report) -> anyhow::Result<()> {
    let app = App::start().await?;
    let pair = Pair::start(&[]).await?;
    let service = pair.serve(app.addr);
    let entrance = pair.entrance(service).await?;
    let mut cases = Vec::new();
    for connections in ["1", "32", "256"] {
        let outcome = match programs::is_there("wrk") {
            true => Outcome::of(load(entrance.addr, connections).await),
            false => Outcome::Skipped("no wrk on this machine".into()),
        };
        cases.push(Case::new(format!("{connections} connections"), outcome));
    }
    report.add(Suite {
        name: "wrk, pair".into(),
        about: ABOUT,
        list_all: true,
        cases,
    });
    Ok(())
}

async fn load(addr: SocketAddr, connections: &str) -> anyhow::Result<()> {
    let mut command = Command::new("wrk");
    command
        .args(["--threads", "1", "--duration", "5s", "--timeout", "10s"])
        .args(["--connections", connections])
        .arg(format!("http://{addr}/"));
    let said = programs::succeed(&mut command, LIMIT).await?;
    let bad = said
        .lines()
        .find(|line| line.contains("Socket errors") || line.contains("Non-2xx"));
    ensure!(bad.is_none(), "{}", bad.unwrap_or_default().trim());
    let requests = said.lines().find(|line| line.contains(" requests in "));
    let requests = requests.context("it counted no requests")?.trim();
    let some = !requests.starts_with("0 ");
    ensure!(some, "no request was answered");
    Ok(())
}
