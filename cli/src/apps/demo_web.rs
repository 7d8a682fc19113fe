//! A web server that answers who it is and whom it saw.

use super::server;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Request, Response, body::Incoming};
use mesh_contract::headers;
use mesh_daemon::Shutdown;
use serde_json::json;
use std::{sync::Arc, time::Duration};

/// Longest `/delay/<ms>`.
const MAX_DELAY: Duration = Duration::from_secs(60);
const MAX_BODY: usize = 16 * 1024 * 1024;

/// Flags of the web server.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Port to listen on
    #[arg(long, env = "PORT", default_value_t = 8080)]
    port: u16,

    /// Name of the cluster to answer with
    #[arg(long, env = "CLUSTER_NAME", default_value = "")]
    cluster: String,

    /// Name of the pod to answer with (default: $HOSTNAME, which is a pod's name)
    #[arg(long, env = "POD_NAME")]
    pod: Option<String>,
}

/// Serves: `/` says who answers and whom it saw, `/healthz` is 200, `/status/<code>` is that code,
/// `/delay/<ms>` takes its time.
pub(crate) async fn run(mut args: Args, shutdown: Shutdown) -> anyhow::Result<()> {
    let port = args.port;
    args.pod = args
        .pod
        .filter(|pod| !pod.is_empty())
        .or_else(|| std::env::var("HOSTNAME").ok());
    let args = Arc::new(args);
    server::serve(port, shutdown, move |request| answer(args.clone(), request)).await
}

async fn answer(args: Arc<Args>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path().to_owned();
    let mut parts = path.trim_start_matches('/').splitn(2, '/');
    let (verb, argument) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    let mut status = 200;
    match (verb, argument.parse::<u64>()) {
        ("healthz", _) => return server::text(200, "text/plain", "ok\n"),
        ("status", Ok(code @ 200..=599)) => status = u16::try_from(code).unwrap_or(500),
        ("delay", Ok(ms)) => tokio::time::sleep(Duration::from_millis(ms).min(MAX_DELAY)).await,
        _ => {}
    }
    let header = |name: &str| {
        request
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    let mut seen = json!({
        "cluster": args.cluster,
        "pod": args.pod.as_deref().unwrap_or_default(),
        "client_id": header(headers::CLIENT_ID),
        "forwarded": header(headers::FORWARDED),
        "host": header("host").or_else(|| request.uri().authority().map(ToString::to_string)),
        "method": request.method().as_str(),
        "path": path,
        "version": format!("{:?}", request.version()),
    });
    match Limited::new(request.into_body(), MAX_BODY).collect().await {
        Ok(body) => seen["body_bytes"] = json!(body.to_bytes().len()),
        Err(error) => return server::text(400, "text/plain", format!("{error}\n")),
    }
    server::json(status, &seen)
}
