//! Steady load from west's client through its sidecar, and what became of every request.

use super::measure::Record;
use crate::http;
use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use serde_json::json;
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// Port of the demo client's own interface.
const CONTROL_PORT: u16 = 9000;
const TIMEOUT: Duration = Duration::from_secs(10);

/// The client's load generator.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    control: SocketAddr,
}

impl Load {
    pub(super) fn new(client_ip: IpAddr) -> Self {
        Self {
            control: SocketAddr::new(client_ip, CONTROL_PORT),
        }
    }

    /// Starts `rate` requests per second to `target`.
    pub(super) async fn start(self, target: &str, rate: u32) -> anyhow::Result<()> {
        let body = json!({ "target": target, "rate": rate }).to_string();
        let request = Request::post("/load")
            .header(hyper::header::HOST, self.control.to_string())
            .header(hyper::header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))?;
        let answer = http::send(self.control, request, TIMEOUT).await?;
        anyhow::ensure!(
            answer.status.is_success(),
            "the client answered {}",
            answer.status
        );
        Ok(())
    }

    /// The requests from `seq` on that have ended by now.
    pub(super) async fn records(self, seq: u64) -> anyhow::Result<Vec<Record>> {
        let request = Request::get(format!("/results?from={seq}&follow=false"))
            .header(hyper::header::HOST, self.control.to_string())
            .body(Full::default())?;
        let answer = http::send(self.control, request, TIMEOUT).await?;
        anyhow::ensure!(
            answer.status.is_success(),
            "the client answered {}",
            answer.status
        );
        let text = String::from_utf8_lossy(&answer.body);
        text.lines()
            .filter(|line| !line.trim().is_empty())
            .map(|line| Ok(serde_json::from_str(line)?))
            .collect()
    }
}

/// `west 300, failed 0`: one line of the live view.
pub(super) fn live(records: &[Record]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for record in records {
        let who = match (&record.error, record.status, &record.cluster) {
            (None, Some(200..=299), Some(cluster)) => cluster.as_str(),
            _ => "failed",
        };
        *counts.entry(who).or_default() += 1;
    }
    let parts: Vec<_> = counts.iter().map(|(who, n)| format!("{who} {n}")).collect();
    if parts.is_empty() {
        "no answers".to_owned()
    } else {
        parts.join(", ")
    }
}
