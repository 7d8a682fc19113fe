//! Accepting mesh TLS for a gRPC server.

use crate::{Accept, Accepted, Store, Verified, accept};
use futures::{Stream, stream};
use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    task::JoinSet,
};
use tonic::transport::server::Connected;

/// Who called; an extension of every request served from [`incoming`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity(pub Option<Verified>);

/// An accepted connection.
#[derive(Debug)]
pub struct ServerIo(Accepted<TcpStream>);

const HANDSHAKE: Accept = Accept {
    transport_header: false,
    timeout: Duration::from_secs(10),
};
/// Handshakes cost CPU and come from anybody; further connections wait in the listen backlog.
const MAX_HANDSHAKES: usize = 256;
/// Accepted connections the server has not taken yet.
const BACKLOG: usize = 64;

/// Accepts and handshakes; for `serve_with_incoming_shutdown`. It starts once the store is
/// certified, never ends and never yields an error: one bad client costs only itself. Dropping
/// it stops accepting. Call it within a runtime.
pub fn incoming(
    listener: TcpListener,
    store: Store,
) -> impl Stream<Item = io::Result<ServerIo>> + Send + 'static {
    let (ready, accepted) = mpsc::channel(BACKLOG);
    tokio::spawn(accept_all(listener, store, ready));
    Box::pin(stream::unfold(accepted, |mut accepted| async move {
        let io = accepted.recv().await?;
        Some((Ok(io), accepted))
    }))
}

async fn accept_all(listener: TcpListener, store: Store, ready: mpsc::Sender<ServerIo>) {
    let slots = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    // Owned here, so that handshakes end with the server.
    let mut handshakes = JoinSet::new();
    tokio::select! {
        () = ready.closed() => return,
        () = store.ready() => {}
    }
    loop {
        while handshakes.try_join_next().is_some() {}
        let next = async {
            let slot = slots.clone().acquire_owned().await;
            (slot, next(&listener).await)
        };
        let (slot, (io, client)) = tokio::select! {
            () = ready.closed() => return,
            next = next => next,
        };
        let (store, ready) = (store.clone(), ready.clone());
        handshakes.spawn(async move {
            match accept(&store, HANDSHAKE, io).await {
                // A failed send means that the server is gone.
                Ok(accepted) => drop(ready.send(ServerIo(accepted)).await),
                Err(error) => tracing::info!(%client, %error, "connection refused"),
            }
            drop(slot);
        });
    }
}

async fn next(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((io, client)) => {
                // Fails only when the client is gone already.
                let _ = io.set_nodelay(true);
                return (io, client);
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections, trying again");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

impl ServerIo {
    /// The client, if it proved who it is.
    pub fn peer(&self) -> Option<&Verified> {
        self.0.peer.as_ref()
    }
}

impl Connected for ServerIo {
    type ConnectInfo = ClientIdentity;

    fn connect_info(&self) -> ClientIdentity {
        ClientIdentity(self.0.peer.clone())
    }
}

impl AsyncRead for ServerIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for ServerIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.stream).poll_shutdown(cx)
    }
}
