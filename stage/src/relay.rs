//! Ports that lead into a sidecar, for programs that cannot be redirected: bytes in, bytes out.

use std::{future::Future, io, net::SocketAddr, sync::Arc};

use mesh_proxy::{
    io::{BoxIo, boxed},
    transport_header::Header,
};
use mesh_tls::{Id, Store, Target};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

/// A listener whose connections lead elsewhere. Ends, with them, when dropped.
pub struct Relay {
    /// Where it listens.
    pub addr: SocketAddr,
    task: JoinHandle<()>,
}

impl Relay {
    /// To `target` through a sidecar's outbound listener, as if the program had been redirected.
    pub async fn through(outbound: SocketAddr, target: SocketAddr) -> io::Result<Self> {
        Self::to(move || connect(outbound, target)).await
    }

    /// To a sidecar's inbound listener as a mesh client comes: TLS with the certificate of `store`,
    /// then `header`.
    pub async fn meshed(
        store: Store,
        inbound: SocketAddr,
        server: Id,
        header: Header,
    ) -> io::Result<Self> {
        let target = Target {
            server_id: server,
            server_name: None,
            transport_header: true,
        };
        let come = Arc::new((store, target, header));
        Self::to(move || {
            let come = come.clone();
            async move {
                let (store, target, header) = &*come;
                let tcp = TcpStream::connect(inbound).await?;
                let connected = mesh_tls::connect(store, target, tcp).await;
                let mut tls = connected.map_err(io::Error::other)?;
                tls.write_all(&header.encode()).await?;
                Ok(boxed(tls))
            }
        })
        .await
    }

    async fn to<F>(dial: impl Fn() -> F + Send + 'static) -> io::Result<Self>
    where
        F: Future<Output = io::Result<BoxIo>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                let dialled = dial();
                connections.spawn(async move {
                    let copied = async {
                        client.set_nodelay(true)?;
                        let server = dialled.await?;
                        mesh_proxy::io::duplex(client, server).await
                    };
                    if let Err(error) = copied.await {
                        tracing::debug!(%error, "a relayed connection ended");
                    }
                });
            }
        });
        Ok(Self { addr, task })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Asks a sidecar's outbound listener for a connection to `target`. From then on the connection is
/// what a redirected one is.
pub async fn connect(outbound: SocketAddr, target: SocketAddr) -> io::Result<BoxIo> {
    let mut tcp = TcpStream::connect(outbound).await?;
    tcp.set_nodelay(true)?;
    let ask = format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n\r\n");
    tcp.write_all(ask.as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tcp.read_u8().await?);
    }
    match head.starts_with(b"HTTP/1.1 200 ") {
        true => Ok(boxed(tcp)),
        false => Err(io::Error::other(
            String::from_utf8_lossy(&head).into_owned(),
        )),
    }
}
