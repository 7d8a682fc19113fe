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
use tokio::net::TcpStream;

/// How to connect.
#[derive(Clone)]
pub(super) enum Way {
    /// To a proxy, whatever the host: requests name it themselves (absolute form).
    Proxy(SocketAddr),
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
            let stream = match &way {
                Self::Proxy(addr) => TcpStream::connect(addr).await?,
                Self::Direct(resolver) => {
                    let (host, port) = (uri.host().unwrap_or_default(), uri.port_u16());
                    mesh_daemon::net::dial(resolver, host, port.unwrap_or(80), TIMEOUT).await?
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
