//! Accepting mesh TLS for a gRPC server.

use crate::{Accept, Accepted, Slot, Slots, Store, Verified, accept};
use futures::{Stream, stream};
use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
};
use tonic::transport::server::Connected;

/// Who called; an extension of every request served from [`incoming`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity(pub Option<Verified>);

/// An accepted connection.
#[derive(Debug)]
pub struct ServerIo {
    accepted: Accepted<TcpStream>,
    _slot: Slot,
}

/// How many connections there may be at once.
#[derive(Clone, Debug)]
struct Limits {
    /// Of those whose handshake is under way: it costs CPU, and anybody can begin one.
    handshakes: Slots,
    /// Of those that came through it.
    connections: Slots,
}

const HANDSHAKE: Accept = Accept {
    transport_header: false,
    timeout: Duration::from_secs(10),
};
/// In all, and of one address. A sidecar has one or two connections to a port of the control plane;
/// many workloads share an address only where pods use their node's.
const MAX_HANDSHAKES: (usize, usize) = (512, 64);
const MAX_CONNECTIONS: (usize, usize) = (16_384, 256);
/// Accepted connections the server has not taken yet.
const BACKLOG: usize = 64;

/// Accepts and handshakes; for `serve_with_incoming_shutdown`. It starts once the store is
/// certified, never ends and never yields an error: one bad client costs only itself, and one that
/// opens more connections than it may is refused the rest. Dropping it stops accepting. Call it
/// within a runtime.
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
    let limits = Limits {
        handshakes: Slots::new(MAX_HANDSHAKES.0, MAX_HANDSHAKES.1),
        connections: Slots::new(MAX_CONNECTIONS.0, MAX_CONNECTIONS.1),
    };
    // Owned here, so that handshakes end with the server.
    let mut handshakes = JoinSet::new();
    tokio::select! {
        () = ready.closed() => return,
        () = store.ready() => {}
    }
    loop {
        while handshakes.try_join_next().is_some() {}
        let (io, client) = tokio::select! {
            () = ready.closed() => return,
            next = next(&listener) => next,
        };
        let Some(handshake) = limits.handshakes.take(client.ip()) else {
            tracing::info!(%client, "connection refused: too many handshakes are under way; is this client hostile, or many behind one address?");
            continue;
        };
        let (store, ready, connections) =
            (store.clone(), ready.clone(), limits.connections.clone());
        handshakes.spawn(async move {
            let shaken = shake(&store, io, client, &connections).await;
            drop(handshake);
            if let Some(io) = shaken {
                // A failed send means that the server is gone.
                let _ = ready.send(io).await;
            }
        });
    }
}

async fn shake(
    store: &Store,
    io: TcpStream,
    client: SocketAddr,
    connections: &Slots,
) -> Option<ServerIo> {
    let accepted = accept(store, HANDSHAKE, io)
        .await
        .inspect_err(|error| tracing::info!(%client, %error, "connection refused"))
        .ok()?;
    let slot = connections.take(client.ip());
    if slot.is_none() {
        tracing::warn!(%client, "connection refused: too many are open already");
    }
    Some(ServerIo {
        accepted,
        _slot: slot?,
    })
}

async fn next(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((io, client)) => {
                // Fails only when the client is gone already.
                let _ = io.set_nodelay(true);
                return (io, client);
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
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
        self.accepted.peer.as_ref()
    }
}

impl Connected for ServerIo {
    type ConnectInfo = ClientIdentity;

    fn connect_info(&self) -> ClientIdentity {
        ClientIdentity(self.accepted.peer.clone())
    }
}

impl AsyncRead for ServerIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.accepted.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for ServerIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.accepted.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.accepted.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.accepted.stream).poll_shutdown(cx)
    }
}
