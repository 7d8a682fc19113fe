//! A client that sends steady load through its sidecar and remembers what became of every request.
//!
//! The load is open-loop: a request is sent when its time has come, whether or not earlier ones
//! were answered, so that a stall shows as late answers and not as fewer requests.

mod print;
mod way;

use self::way::Way;
use super::server;
use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Full, Limited};
use hyper::{Method, Request, Response, Uri, body::Incoming};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use mesh_contract::ports;
use mesh_daemon::{Shutdown, net::Resolver};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::sync::watch;

/// Requests remembered; older ones are forgotten.
const MAX_RECORDS: usize = 200_000;
const MAX_RATE: u32 = 10_000;
const MAX_BODY: usize = 1024 * 1024;
/// A request without an answer for so long has failed.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Flags of the client.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Port of the client's own interface
    #[arg(long, default_value_t = 9000)]
    port: u16,

    /// The explicit proxy to send through (default: in the loopback network the sidecar; elsewhere
    /// none, for what is sent is redirected)
    #[arg(long, value_name = "ADDRESS")]
    via: Option<SocketAddr>,

    /// Ask the explicit proxy for tunnels (CONNECT), for ports that are not HTTP to the mesh
    #[arg(long)]
    tunnel: bool,

    /// URL to send load to from the start
    #[arg(long, env = "TARGET", value_name = "URL")]
    target: Option<String>,

    /// Requests per second to it
    #[arg(long, env = "RATE", default_value_t = 10)]
    rate: u32,

    /// Serve nothing: print what became of each request as a line of JSON, with what was answered
    #[arg(long, requires = "target")]
    print: bool,

    /// How many requests to print (default: until standard input ends)
    #[arg(long, requires = "print", value_name = "COUNT")]
    requests: Option<u64>,
}

/// What became of a request.
#[derive(Clone, Debug, Serialize)]
struct Record {
    seq: u64,
    started_ms: u64,
    latency_ms: f64,
    status: Option<u16>,
    cluster: Option<String>,
    error: Option<String>,
    /// The body, where results are printed.
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<Value>,
}

/// What to send; a rate of zero sends nothing.
#[derive(Clone, Debug, Default, Deserialize)]
struct Load {
    target: String,
    rate: u32,
}

/// The requests that have ended, in the order in which they did.
#[derive(Debug, Default)]
struct Log {
    records: VecDeque<Record>,
    next_seq: u64,
}

type Http = Client<Way, Empty<Bytes>>;

struct App {
    http: Http,
    load: watch::Sender<Load>,
    log: Mutex<Log>,
}

/// Serves `POST /load {target, rate}`, `GET /results?from=SEQ`, `GET /summary`.
pub(crate) async fn run(args: Args, shutdown: Shutdown) -> anyhow::Result<()> {
    let sidecar = mesh_daemon::net::loopback().map(|ip| SocketAddr::new(ip, ports::OUTBOUND));
    let way = match args.via.or(sidecar) {
        Some(proxy) if args.tunnel => Way::Tunnel(proxy),
        Some(proxy) => Way::Proxy(proxy),
        None => Way::Direct(Resolver::from_env()),
    };
    let http = Client::builder(TokioExecutor::new())
        .pool_idle_timeout(Duration::from_secs(2))
        .build(way);
    let load = Load {
        target: args.target.unwrap_or_default(),
        rate: args.rate,
    };
    if args.print {
        return print::run(http, &load, args.requests, shutdown).await;
    }
    let app = Arc::new(App {
        http,
        load: watch::Sender::new(if load.target.is_empty() {
            Load::default()
        } else {
            load
        }),
        log: Mutex::default(),
    });
    let sender = tokio::spawn(send(app.clone()));
    let served = server::serve(args.port, shutdown, move |request| {
        answer(app.clone(), request)
    });
    let result = served.await;
    sender.abort();
    result
}

/// Sends requests at their times, for as long as the process lives.
async fn send(app: Arc<App>) {
    let mut changes = app.load.subscribe();
    loop {
        let load = changes.borrow_and_update().clone();
        let uri: Option<Uri> = load.target.parse().ok().filter(|_| load.rate > 0);
        let Some(uri) = uri else {
            if changes.changed().await.is_err() {
                return;
            }
            continue;
        };
        let period = Duration::from_secs(1) / load.rate.min(MAX_RATE);
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    let (app, uri) = (app.clone(), uri.clone());
                    tokio::spawn(async move { app.request(uri).await });
                }
                changed = changes.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
            }
        }
    }
}

impl App {
    async fn request(&self, uri: Uri) {
        let record = Record {
            answer: None,
            ..one(&self.http, uri).await
        };
        let mut log = self.log();
        let seq = log.next_seq;
        log.next_seq += 1;
        log.records.push_back(Record { seq, ..record });
        if log.records.len() > MAX_RECORDS {
            log.records.pop_front();
        }
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends one request; what became of it.
async fn one(http: &Http, uri: Uri) -> Record {
    let started_ms = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        });
    let started = Instant::now();
    let outcome = match tokio::time::timeout(TIMEOUT, fetch(http, uri)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(anyhow::anyhow!("no answer within {TIMEOUT:?}")),
    };
    let mut record = Record {
        seq: 0,
        started_ms,
        latency_ms: started.elapsed().as_secs_f64() * 1000.0,
        status: None,
        cluster: None,
        error: None,
        answer: None,
    };
    match outcome {
        Ok((status, error, body)) => {
            record.status = Some(status);
            record.error = error;
            let answer = serde_json::from_slice(&body)
                .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&body)));
            record.cluster = answer["cluster"].as_str().map(str::to_owned);
            record.answer = Some(answer);
        }
        Err(error) => record.error = Some(format!("{error:#}")),
    }
    record
}

/// Status, error and body of an answer.
async fn fetch(http: &Http, uri: Uri) -> anyhow::Result<(u16, Option<String>, Bytes)> {
    let response = http.get(uri).await?;
    let status = response.status();
    let proxy_error = response
        .headers()
        .get(mesh_contract::headers::PROXY_ERROR)
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned);
    let body = Limited::new(response.into_body(), MAX_BODY)
        .collect()
        .await
        .map_err(|error| anyhow::anyhow!("the answer ended early: {error}"))?;
    let error =
        (!status.is_success()).then(|| proxy_error.unwrap_or_else(|| format!("answered {status}")));
    Ok((status.as_u16(), error, body.to_bytes()))
}

async fn answer(app: Arc<App>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    match (request.method(), request.uri().path()) {
        (&Method::POST, "/load") => match load(request).await {
            Ok(load) => {
                app.load.send_replace(load);
                server::text(200, "text/plain", "ok\n")
            }
            Err(error) => server::text(400, "text/plain", format!("{error:#}\n")),
        },
        (&Method::GET, "/results") => {
            let from = server::query(request.uri(), "from").and_then(|v| v.parse().ok());
            server::text(
                200,
                "application/x-ndjson",
                results(&app.log(), from.unwrap_or(0)),
            )
        }
        (&Method::GET, "/summary") => {
            let log = app.log();
            let failed = log.records.iter().filter(|r| r.error.is_some()).count();
            server::json(
                200,
                &serde_json::json!({ "sent": log.next_seq, "failed": failed }),
            )
        }
        (&Method::GET, "/healthz") => server::text(200, "text/plain", "ok\n"),
        _ => server::text(
            404,
            "text/plain",
            "POST /load, GET /results?from=SEQ, GET /summary\n",
        ),
    }
}

async fn load(request: Request<Incoming>) -> anyhow::Result<Load> {
    let body = Limited::new(request.into_body(), MAX_BODY)
        .collect()
        .await
        .map_err(|error| anyhow::anyhow!("cannot read the body: {error}"))?;
    let load: Load = serde_json::from_slice(&body.to_bytes())
        .context("expected {\"target\": URL, \"rate\": REQUESTS PER SECOND}")?;
    let uri: Uri = load.target.parse().context("the target is not a URL")?;
    anyhow::ensure!(uri.authority().is_some(), "the target {uri} names no host");
    Ok(load)
}

fn results(log: &Log, from: u64) -> String {
    let mut text = String::new();
    for record in log.records.iter().filter(|record| record.seq >= from) {
        if let Ok(line) = serde_json::to_string(record) {
            text.push_str(&line);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_start_where_the_reader_left_off() {
        let record = |seq| Record {
            seq,
            started_ms: 0,
            latency_ms: 1.0,
            status: Some(200),
            cluster: None,
            error: None,
            answer: None,
        };
        let log = Log {
            records: (0..5).map(record).collect(),
            next_seq: 5,
        };
        assert_eq!(results(&log, 3).lines().count(), 2);
        assert_eq!(results(&log, 5), "");
    }
}
