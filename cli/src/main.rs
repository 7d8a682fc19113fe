//! The `mesh` command: every verb users type, and every daemon, in one binary.

mod apps;
mod check;
mod checks;
mod cluster;
mod command;
mod demo;
mod diagnostics;
mod gateway;
mod http;
mod inject;
mod install;
mod installation;
mod multicluster;
mod output;
mod proxy_identity;
mod proxy_init;
mod reach;
mod retry;
mod sidecars;
mod supervise;
mod uninject;
mod version;
mod workload;

use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    // Where one binary stands for all of an image's.
    if mesh_gateway::wait::is_asked() {
        return mesh_gateway::wait::run();
    }
    let mesh = command::Mesh::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let result = runtime
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(run(mesh)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::note(&format!("mesh: {}", output::said_once(&error)));
            // 64 (EX_USAGE) where a sidecar's configuration is wrong, as sidecars have always exited.
            ExitCode::from(mesh_gateway::exit_code(&error))
        }
    }
}

async fn run(mesh: command::Mesh) -> anyhow::Result<()> {
    mesh_daemon::telemetry::init(&mesh.logs())?;
    mesh_daemon::process::raise_file_limit();
    let (trigger, shutdown) = mesh_daemon::shutdown();
    if mesh.is_daemon() {
        tokio::spawn(mesh_daemon::on_signals(trigger));
        return Box::pin(mesh.run(shutdown)).await;
    }
    // A command is interrupted by its own handler where it has one (demo); else at once.
    let result = Box::pin(mesh.run(shutdown)).await;
    drop(trigger);
    result
}
