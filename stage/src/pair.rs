//! A client's sidecar and a server's, and a service of which the server is the only endpoint.

use std::{io, net::SocketAddr};

use crate::{CLIENT_ID, CLIENT_IP, ControlPlane, SERVER_ID, SERVER_IP, Sidecar, answers, relay};

/// Both sidecars, certified, and their control plane.
pub struct Pair {
    /// Who tells them.
    pub control: ControlPlane,
    /// The client's.
    pub client: Sidecar,
    /// The server's.
    pub server: Sidecar,
}

impl Pair {
    /// Both in this process, with `more` variables each.
    pub async fn start(more: &[(&str, &str)]) -> io::Result<Self> {
        let control = ControlPlane::start().await?;
        let client = Sidecar::start(&control, CLIENT_IP, CLIENT_ID, more).await?;
        let server = Sidecar::start(&control, SERVER_IP, SERVER_ID, more).await?;
        Ok(Self {
            control,
            client,
            server,
        })
    }

    /// Makes the application at `app` (an address of [`SERVER_IP`]) a service that clients reach
    /// through both sidecars, at the address that is returned.
    pub fn serve(&self, app: SocketAddr) -> SocketAddr {
        let endpoint = answers::meshed(app, SERVER_ID, self.server.inbound.port());
        let path = format!("app-{}.default.svc.cluster.local:80", app.port());
        // Nobody is there: the sidecar asks for it, and is told the endpoints.
        let service = SocketAddr::from(([10, 88, 0, 1], app.port()));
        self.control.inbound(app.port(), answers::open_port());
        self.control.endpoints(&path, vec![endpoint]);
        self.control.outbound(service, answers::service(&path));
        service
    }

    /// A port through which programs that know nothing of proxies reach a service of
    /// [`Pair::serve`].
    pub async fn entrance(&self, service: SocketAddr) -> io::Result<relay::Relay> {
        relay::Relay::through(self.client.outbound, service).await
    }
}
