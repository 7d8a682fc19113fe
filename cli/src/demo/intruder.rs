//! Somebody who must not get through a gateway: without TLS, without an identity, or with one of
//! a foreign authority.
//!
//! It trusts the gateway, so that a handshake ends well on its side and only the *gateway's* verdict
//! can end the attempt. An attempt that could not be made is an error, and no refusal.

use crate::{
    gateway::{self, Gateway},
    http,
};
use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, StatusCode};
use mesh_tls::{
    ClientStream, Error, Id, Store, Target, TrustAnchors, connect, connect_anonymous, testing::Ca,
};
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

const TIMEOUT: Duration = Duration::from_secs(5);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Speaks HTTP without TLS to the gateway's port; what came back.
pub(super) async fn plaintext(gateway: SocketAddr, host: &str) -> anyhow::Result<String> {
    let exchange = async {
        let mut io = TcpStream::connect(gateway).await?;
        io.write_all(format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n").as_bytes())
            .await?;
        let mut answer = Vec::new();
        // A reset is a refusal too.
        let _ = io.take(4096).read_to_end(&mut answer).await;
        anyhow::Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    tokio::time::timeout(TIMEOUT, exchange)
        .await
        .context("the gateway kept a plaintext connection open")?
}

/// Sends a request for `name` through the gateway with TLS but no certificate. Answers nothing if
/// the gateway refused.
pub(super) async fn anonymous(
    trusted: &TrustAnchors,
    gateway: &Gateway,
    name: &str,
) -> anyhow::Result<Option<StatusCode>> {
    let target = target(gateway);
    let io = dial(gateway).await?;
    through(connect_anonymous(trusted, &target, io), name).await
}

/// The same as `id`, certified by a foreign authority.
pub(super) async fn foreign(
    trusted: &TrustAnchors,
    gateway: &Gateway,
    id: &Id,
    name: &str,
) -> anyhow::Result<Option<StatusCode>> {
    let root = Ca::new("root.foreign");
    let both = [trusted.certificates(), root.anchors().certificates()].concat();
    let store = Store::new(id.clone(), TrustAnchors::from_der(both)?);
    let (certified, key) = root.issuer("issuer.foreign").leaf(id, DAY);
    store.install(certified, key)?;
    let target = target(gateway);
    let io = dial(gateway).await?;
    through(connect(&store, &target, io), name).await
}

fn target(gateway: &Gateway) -> Target {
    Target {
        server_id: gateway.identity.clone(),
        server_name: None,
        transport_header: true,
    }
}

async fn dial(gateway: &Gateway) -> anyhow::Result<TcpStream> {
    let address = gateway.address;
    let dialling = TcpStream::connect(address).await;
    dialling.with_context(|| format!("nothing was tried: cannot connect to {address}"))
}

/// In TLS 1.3 the handshake is done for the client before the server has judged its certificate: a
/// refusal is the end of the connection after that.
async fn through(
    handshake: impl Future<Output = Result<ClientStream<TcpStream>, Error>>,
    name: &str,
) -> anyhow::Result<Option<StatusCode>> {
    let request: Request<Full<Bytes>> = http::get(&format!("http://{name}/"), &[])?;
    let attempt = async {
        let mut io = handshake.await.context("nothing was tried")?;
        if io.write_all(&gateway::header(name, 80)).await.is_err() {
            return Ok(None);
        }
        let answer = http::exchange(io, request).await;
        anyhow::Ok(answer.ok().map(|answer| answer.status))
    };
    tokio::time::timeout(TIMEOUT, attempt)
        .await
        .context("the gateway neither answered nor closed")?
}
