//! `demo-client --print`: requests from inside a pod, told on standard output while they end.
//!
//! For `kubectl exec`: with a count it ends by itself, without one it sends until standard input
//! ends, and then waits for what is under way, so that no request goes unreported.

use super::{Http, Load, MAX_RATE, Record, one};
use anyhow::Context as _;
use hyper::Uri;
use mesh_daemon::Shutdown;
use std::time::Duration;
use tokio::{sync::oneshot, task::JoinSet, time::MissedTickBehavior};

/// Sends and prints.
pub(super) async fn run(
    http: Http,
    load: &Load,
    requests: Option<u64>,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let uri: Uri = load.target.parse().context("--target is not a URL")?;
    anyhow::ensure!(
        (1..=MAX_RATE).contains(&load.rate),
        "--rate: expected 1 to {MAX_RATE}"
    );
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / load.rate);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let end = async {
        match requests {
            Some(_) => std::future::pending().await,
            None => input_ends().await,
        }
    };
    tokio::pin!(end);
    let (mut under_way, mut started) = (JoinSet::new(), 0);
    loop {
        tokio::select! {
            _ = ticks.tick(), if requests.is_none_or(|all| started < all) => {
                let (http, uri, seq) = (http.clone(), uri.clone(), started);
                under_way.spawn(async move { Record { seq, ..one(&http, uri).await } });
                started += 1;
            }
            Some(ended) = under_way.join_next() => {
                tell(&ended?)?;
                if requests.is_some_and(|all| started == all) && under_way.is_empty() {
                    return Ok(());
                }
            }
            () = &mut end => break,
            () = shutdown.requested() => break,
        }
    }
    while let Some(ended) = under_way.join_next().await {
        tell(&ended?)?;
    }
    Ok(())
}

fn tell(record: &Record) -> anyhow::Result<()> {
    crate::output::text(&format!("{}\n", serde_json::to_string(record)?))
}

/// A thread of its own waits: the runtime would wait for the input when it ends.
async fn input_ends() {
    let (over, ended) = oneshot::channel::<()>();
    std::thread::spawn(move || {
        let _read = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        drop(over);
    });
    let _over = ended.await;
}
