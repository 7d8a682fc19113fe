//! The API server at the node's address: it may listen where only this machine reaches it. Bytes
//! go to and fro as they are; TLS is between the pod and the API server.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_CONNECTIONS: usize = 1024;

/// A listener, and where it leads.
pub(super) struct Relay {
    listener: TcpListener,
    to: (String, u16),
}

impl Relay {
    pub(super) async fn bind(at: SocketAddr, to: (String, u16)) -> io::Result<Self> {
        let listener = mesh_daemon::net::bind(at).await?;
        Ok(Self { listener, to })
    }

    pub(super) async fn run(self) -> io::Result<()> {
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let slot = slots
                .clone()
                .acquire_owned()
                .await
                .map_err(io::Error::other)?;
            let (client, _) = mesh_daemon::net::accept(&self.listener).await;
            let to = self.to.clone();
            tokio::spawn(async move {
                if let Err(error) = relay(client, &to).await {
                    tracing::debug!(%error, "a pod's connection to the API server ended");
                }
                drop(slot);
            });
        }
    }
}

async fn relay(mut client: TcpStream, (host, port): &(String, u16)) -> io::Result<()> {
    let connecting = TcpStream::connect((host.as_str(), *port));
    let mut server = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await??;
    server.set_nodelay(true)?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
