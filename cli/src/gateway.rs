//! Asks through a gateway, as a workload of a linked cluster does: mTLS with the gateway's identity
//! demanded, a transport header that names a service, one request.

use crate::http::{self, Answer};
use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request};
use mesh_proxy::transport_header::{Header, Session};
use mesh_tls::{Id, Store, Target};
use std::{net::SocketAddr, time::Duration};
use tokio::io::AsyncWriteExt as _;

/// Where a gateway is, and who it must be.
#[derive(Clone, Debug)]
pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    pub(crate) identity: Id,
}

/// That there is no way from here to a gateway: nothing was asked of it.
#[derive(Debug, thiserror::Error)]
#[error("cannot connect to {0}")]
pub(crate) struct Unreachable(pub(crate) SocketAddr);

/// Sends `method` for `/` of `name:port` through `gateway`, as the workload of `store`; `timeout` is
/// for the connection, and for the rest.
pub(crate) async fn ask(
    store: &Store,
    gateway: &Gateway,
    method: Method,
    (name, port): (&str, u16),
    timeout: Duration,
) -> anyhow::Result<Answer> {
    let target = Target {
        server_id: gateway.identity.clone(),
        server_name: None,
        transport_header: true,
    };
    let request = Request::builder()
        .method(method)
        .uri("/")
        .header(hyper::header::HOST, name)
        .header(hyper::header::USER_AGENT, "mesh-check")
        .body(Full::<Bytes>::default())?;
    let io = mesh_daemon::net::connect(gateway.address, timeout)
        .await
        .with_context(|| Unreachable(gateway.address))?;
    let exchange = async {
        let mut io = mesh_tls::connect(store, &target, io)
            .await
            .with_context(|| format!("no mTLS with {}", gateway.address))?;
        io.write_all(&header(name, port)).await?;
        http::exchange(io, request).await
    };
    tokio::time::timeout(timeout, exchange)
        .await
        .with_context(|| format!("{} did not answer within {timeout:?}", gateway.address))?
}

/// The header that asks a gateway for `port` of `name`, over HTTP/1.
pub(crate) fn header(name: &str, port: u16) -> Bytes {
    Header {
        port,
        name: Some(name.to_owned()),
        session: Some(Session::Http1),
    }
    .encode()
}
