//! One HTTP/1.1 exchange at a time, for talking to pods and gateways.

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::{net::SocketAddr, time::Duration};

/// Largest answer read.
const MAX_BODY: usize = 64 * 1024 * 1024;

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// What a sidecar or gateway says where the answer is its own.
    pub(crate) proxy_error: Option<String>,
    pub(crate) body: Bytes,
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json<T: serde::de::DeserializeOwned>(&self) -> anyhow::Result<T> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("not JSON: {:?}", String::from_utf8_lossy(&self.body)))
    }
}

/// Sends `request` to `addr`; a proxy when its URI is absolute.
pub(crate) async fn send(
    addr: SocketAddr,
    request: Request<Full<Bytes>>,
    timeout: Duration,
) -> anyhow::Result<Answer> {
    let exchange = async {
        let io = tokio::net::TcpStream::connect(addr)
            .await
            .with_context(|| format!("cannot connect to {addr}"))?;
        exchange(io, request).await
    };
    tokio::time::timeout(timeout, exchange)
        .await
        .with_context(|| format!("no answer from {addr} within {timeout:?}"))?
}

/// Sends `request` over a connection that is there already.
pub(crate) async fn exchange<I>(io: I, request: Request<Full<Bytes>>) -> anyhow::Result<Answer>
where
    I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await?;
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status();
    let proxy_error = response.headers().get(mesh_contract::headers::PROXY_ERROR);
    let proxy_error = proxy_error.map(|text| String::from_utf8_lossy(text.as_bytes()).into_owned());
    let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
    connection.abort();
    match body {
        Ok(body) => Ok(Answer {
            status,
            proxy_error,
            body: body.to_bytes(),
        }),
        Err(error) => bail!("the answer ended early: {error}"),
    }
}

/// A GET of `uri` with `headers`.
pub(crate) fn get(uri: &str, headers: &[(&str, &str)]) -> anyhow::Result<Request<Full<Bytes>>> {
    let uri: hyper::Uri = uri.parse()?;
    let mut builder = Request::get(&uri);
    if let Some(authority) = uri.authority() {
        builder = builder.header(hyper::header::HOST, authority.as_str());
    }
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    Ok(builder.body(Full::default())?)
}
