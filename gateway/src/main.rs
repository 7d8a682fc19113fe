//! `mesh-proxy`: the sidecar, and the gateway, without the control plane around it.
//!
//! Called as `linkerd-await` it waits for the sidecar beside it, as the hook at a sidecar's start
//! does.

use std::process::ExitCode;

use mesh_daemon::telemetry::{self, LogArgs};
use mesh_proxy::Config;
use tokio::runtime::{Builder, Runtime};

fn main() -> ExitCode {
    if mesh_gateway::wait::is_asked() {
        return mesh_gateway::wait::run();
    }
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mesh-proxy: {error:#}");
            ExitCode::from(mesh_gateway::exit_code(&error))
        }
    }
}

/// One worker is this thread: nothing is handed from thread to thread then.
fn runtime(workers: usize) -> std::io::Result<Runtime> {
    let mut builder = match workers {
        0 | 1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    builder.worker_threads(workers.max(1)).enable_all().build()
}

fn serve() -> anyhow::Result<()> {
    telemetry::init(&LogArgs::from_proxy_env())?;
    mesh_daemon::process::raise_file_limit();
    let config = Config::from_env()?;
    let runtime = runtime(config.workers)?;
    runtime.block_on(async {
        let (trigger, shutdown) = mesh_daemon::shutdown();
        tokio::spawn(mesh_daemon::on_signals(trigger));
        mesh_gateway::serve(config, shutdown).await
    })
}
