//! The API server by itself, for trying things out:
//! `cargo run -p mesh-devcluster --example apiserver -- --state-dir /tmp/api`.

use clap::Parser;
use mesh_devcluster::apiserver::{Args, run};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (trigger, shutdown) = mesh_daemon::shutdown();
    tokio::spawn(mesh_daemon::on_signals(trigger));
    run(Cli::parse().args, shutdown).await
}
