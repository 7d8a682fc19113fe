//! gRPC's interop client and server, one case at a time, through both sidecars.

use std::{net::SocketAddr, path::Path, process::Stdio, time::Duration};

use anyhow::Context;
use stage::{Pair, SERVER_IP};
use tokio::{
    net::{TcpListener, TcpStream},
    process::{Child, Command},
};

use crate::{
    programs,
    report::{Case, Outcome, Report, Suite},
};

const ABOUT: &str = "gRPC's interop client and server (`google.golang.org/grpc/interop`, built from \
                     `conformance/modules/grpc-interop`).";
const LIMIT: Duration = Duration::from_secs(60);

/// Every case of the client that needs no credentials of a cloud.
const CASES: [&str; 19] = [
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "timeout_on_sleeping_server",
    "cancel_after_begin",
    "cancel_after_first_response",
    "status_code_and_message",
    "special_status_message",
    "custom_metadata",
    "unimplemented_method",
    "unimplemented_service",
    "pick_first_unary",
    "orca_per_rpc",
    "orca_oob",
    "rpc_soak",
    "channel_soak",
];

pub(crate) async fn run(report: &mut Report) -> anyhow::Result<()> {
    let module = "grpc-interop";
    let package = "google.golang.org/grpc/interop";
    let client = programs::go(module, &format!("{package}/client"), "grpc-client").await?;
    let server = programs::go(module, &format!("{package}/server"), "grpc-server").await?;
    let (_server, app) = start(&server).await?;
    let pair = Pair::start(&[]).await?;
    let service = pair.serve(app);
    let entrance = pair.entrance(service).await?;
    let mut cases = Vec::new();
    for case in CASES {
        let outcome = match ask(&client, entrance.addr, case).await {
            // The server has not all of what its client asks for.
            Err(_) if ask(&client, app, case).await.is_err() => {
                Outcome::Skipped("fails without a proxy, too".into())
            }
            outcome => Outcome::of(outcome),
        };
        cases.push(Case::new(case, outcome));
    }
    report.add(Suite {
        name: "gRPC interop, pair".into(),
        about: ABOUT,
        list_all: true,
        cases,
    });
    Ok(())
}

async fn ask(client: &Path, addr: SocketAddr, case: &str) -> anyhow::Result<()> {
    let mut command = Command::new(client);
    command
        .args(["--server_host", &addr.ip().to_string()])
        .args(["--server_port", &addr.port().to_string()])
        .args(["--test_case", case]);
    if case.starts_with("orca") {
        let balancer = r#"{"loadBalancingConfig":[{"test_backend_metrics_load_balancer":{}}]}"#;
        command.args(["--service_config_json", balancer]);
    }
    programs::succeed(&mut command, LIMIT).await.map(drop)
}

/// The server listens on every address; the one of the pod is where the sidecar finds it.
async fn start(program: &Path) -> anyhow::Result<(Child, SocketAddr)> {
    let free = TcpListener::bind("0.0.0.0:0").await?;
    let addr = SocketAddr::new(SERVER_IP, free.local_addr()?.port());
    drop(free);
    let child = Command::new(program)
        .args(["--port", &addr.port().to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("starting gRPC's interop server")?;
    let listens = async {
        while TcpStream::connect(addr).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let listens = tokio::time::timeout(LIMIT, listens).await;
    listens.context("gRPC's interop server does not listen")?;
    Ok((child, addr))
}
