//! HTTP/2 clients: `GET`, gRPC's unary call, and one stream that does not end.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;

use super::{Notes, Route, dial};
use crate::app::{BODY, ENDLESS};

const HOST: &str = "http://app.bench.svc.cluster.local";
/// A gRPC message of 64 bytes, uncompressed.
const MESSAGE: [u8; 69] = {
    let mut message = [b'x'; 69];
    message[0] = 0;
    message[1] = 0;
    message[2] = 0;
    message[3] = 0;
    message[4] = 64;
    message
};

/// `GET`, one stream after the other.
pub(super) async fn get(route: Route, notes: &Notes) -> anyhow::Result<()> {
    let mut client = connect(route).await?;
    while !notes.is_stopped() {
        let since = Instant::now();
        let request = Request::get(format!("{HOST}/hello")).body(())?;
        client = client.ready().await?;
        let (response, _) = client.send_request(request, true)?;
        let response = response.await?;
        ensure!(response.status() == 200, "status {}", response.status());
        let read = read(response.into_body()).await?.0;
        ensure!(read == BODY.len(), "{read} bytes");
        notes.answered(since);
    }
    Ok(())
}

/// A unary call, one after the other.
pub(super) async fn call(route: Route, notes: &Notes) -> anyhow::Result<()> {
    let mut client = connect(route).await?;
    while !notes.is_stopped() {
        let since = Instant::now();
        let request = Request::post(format!("{HOST}/bench.Echo/Echo"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())?;
        client = client.ready().await?;
        let (response, mut send) = client.send_request(request, false)?;
        send.send_data(Bytes::from_static(&MESSAGE), true)?;
        let response = response.await?;
        ensure!(response.status() == 200, "status {}", response.status());
        let (read, status) = read(response.into_body()).await?;
        ensure!(read == MESSAGE.len() && status, "{read} bytes");
        notes.answered(since);
    }
    Ok(())
}

async fn connect(route: Route) -> anyhow::Result<SendRequest<Bytes>> {
    let (client, connection) = h2::client::handshake(dial(route).await?).await?;
    tokio::task::spawn_local(connection);
    Ok(client)
}

/// How many bytes came, and whether `grpc-status: 0` came behind them.
async fn read(mut body: h2::RecvStream) -> anyhow::Result<(usize, bool)> {
    let mut read = 0;
    while let Some(data) = body.data().await {
        let data = data?;
        read += data.len();
        body.flow_control().release_capacity(data.len())?;
    }
    let trailers = body.trailers().await?.unwrap_or_default();
    Ok((read, trailers.get("grpc-status").is_some_and(|v| v == "0")))
}

/// Bytes a second of one stream, once it has found its pace.
pub(crate) fn stream(route: Route, warm: Duration, measure: Duration) -> anyhow::Result<f64> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = tokio::task::LocalSet::new();
    let downloading = local.run_until(download(route, warm, measure));
    let bounded = async {
        let limit = warm + measure + Duration::from_secs(20);
        tokio::time::timeout(limit, downloading).await
    };
    runtime.block_on(bounded).context("the stream hangs")?
}

async fn download(route: Route, warm: Duration, measure: Duration) -> anyhow::Result<f64> {
    let (mut client, connection) = h2::client::Builder::new()
        .initial_window_size(1 << 24)
        .initial_connection_window_size(1 << 24)
        .max_frame_size(1 << 16)
        .handshake::<_, Bytes>(dial(route).await?)
        .await?;
    tokio::task::spawn_local(connection);
    let request = Request::get(format!("{HOST}{ENDLESS}")).body(())?;
    let (response, _) = client.send_request(request, true)?;
    let response = response.await?;
    ensure!(response.status() == 200, "status {}", response.status());
    let mut body = response.into_body();
    let start = Instant::now();
    let (mut since, mut bytes) = (None, 0);
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        let now = Instant::now();
        match since {
            None if now - start >= warm => since = Some(now),
            None => {}
            Some(since) => {
                bytes += data.len();
                if now - since >= measure {
                    return Ok(bytes as f64 / (now - since).as_secs_f64());
                }
            }
        }
    }
    anyhow::bail!("the stream ended")
}
