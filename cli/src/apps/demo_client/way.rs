//! How the client connects: to its sidecar as an explicit proxy, or to the host itself.

use super::TIMEOUT;
use hyper::Uri;
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use mesh_daemon::net::Resolver;
use std::{
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// How to connect.
#[derive(Clone)]
pub(super) enum Way {
    /// To a proxy, whatever the host: requests name it themselves (absolute form).
    Proxy(SocketAddr),
    /// Through a tunnel that a proxy opens to the host.
    Tunnel(SocketAddr),
    /// To the host.
    Direct(Resolver),
}

pub(super) struct Link {
    io: TokioIo<TcpStream>,
    to_proxy: bool,
}

impl Connection for Link {
    fn connected(&self) -> Connected {
        Connected::new().proxy(self.to_proxy)
    }
}

impl tower_service::Service<Uri> for Way {
    type Response = Link;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Link, std::io::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let way = self.clone();
        Box::pin(async move {
            let (host, port) = (uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(80));
            let stream = match &way {
                Self::Proxy(addr) => TcpStream::connect(addr).await?,
                Self::Tunnel(addr) => tunnel(TcpStream::connect(addr).await?, host, port).await?,
                Self::Direct(resolver) => {
                    mesh_daemon::net::dial(resolver, host, port, TIMEOUT).await?
                }
            };
            stream.set_nodelay(true)?;
            Ok(Link {
                io: TokioIo::new(stream),
                to_proxy: matches!(way, Self::Proxy(_)),
            })
        })
    }
}

/// No answer to CONNECT is longer.
const MAX_HEAD: usize = 8 * 1024;

/// The connection once the proxy has made a tunnel of it.
async fn tunnel(mut proxy: TcpStream, host: &str, port: u16) -> std::io::Result<TcpStream> {
    let ask = format!("CONNECT {host}:{port} HTTP/1.1\r\nhost: {host}:{port}\r\n\r\n");
    proxy.write_all(ask.as_bytes()).await?;
    let mut head = Vec::new();
    // One by one: what follows the head is the tunnel's.
    while !head.ends_with(b"\r\n\r\n") && head.len() < MAX_HEAD {
        head.push(proxy.read_u8().await?);
    }
    let status = String::from_utf8_lossy(head.split(|b| *b == b'\r').next().unwrap_or_default());
    match status.split(' ').nth(1) {
        Some("200") => Ok(proxy),
        _ => Err(std::io::Error::other(format!("no tunnel: {status}"))),
    }
}

impl hyper::rt::Read for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl hyper::rt::Write for Link {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
