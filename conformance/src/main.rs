//! Other people's tests of the proxy, run through sidecars on this machine.
//!
//! `cargo run -p conformance` runs every suite and prints the table; `--write` also writes it to
//! `docs/conformance.md`. It ends with 1 if anything failed that [`explained`] does not explain, or
//! passed that it says fails. The suites are h2spec, gRPC's interop client and server (Go programs,
//! built once into `~/.cache/mesh/conformance`), curl, wrk and a WebSocket client; the sidecars and
//! their control plane are `stage`'s.

mod app;
mod explained;
mod programs;
mod report;
mod suites;

use std::{path::Path, process::ExitCode};

use anyhow::Context;
use clap::Parser;

use report::Report;

/// Other people's tests of the proxy.
#[derive(Parser)]
struct Args {
    /// Writes the table to docs/conformance.md.
    #[arg(long)]
    write: bool,
    /// Only these suites: h2spec, grpc, clients.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let whole = args.only.is_empty();
    anyhow::ensure!(whole || !args.write, "--write needs every suite");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let report = runtime.block_on(run(&args.only))?;
    print!("{report}");
    if args.write {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/conformance.md");
        std::fs::write(&path, report.to_string()).context("writing docs/conformance.md")?;
    }
    let surprises = report.surprises(whole);
    for surprise in &surprises {
        eprintln!("{surprise}");
    }
    Ok(match surprises.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

async fn run(only: &[String]) -> anyhow::Result<Report> {
    let wanted = |name: &str| only.is_empty() || only.iter().any(|suite| suite == name);
    let mut report = Report::default();
    if wanted("h2spec") {
        suites::h2spec::run(&mut report).await.context("h2spec")?;
    }
    if wanted("grpc") {
        suites::grpc::run(&mut report).await.context("gRPC")?;
    }
    if wanted("clients") {
        suites::curl::run(&mut report).await.context("curl")?;
        suites::wrk::run(&mut report).await.context("wrk")?;
        let websocket = suites::websocket::run(&mut report).await;
        websocket.context("WebSocket")?;
    }
    Ok(report)
}
