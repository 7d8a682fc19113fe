//! A client, one sidecar or two, and an application, each end of it raw bytes.

use std::time::Duration;

use linkerd2_proxy_api::destination::{ProtocolHint, protocol_hint};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::{
    inbound::tests::sandbox::{SERVER, Sandbox},
    outbound::tests::sandbox::{Mesh, first_available, meshed, plain},
};

const TO: &str = "10.0.0.1:80";
const LOCAL: &str = "web.default.svc.cluster.local:80";
const PATIENCE: Duration = Duration::from_secs(20);

/// What is between the client and the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The client's sidecar.
    One,
    /// The client's and the application's, with mesh TLS and HTTP/2 between them.
    Two,
}

pub(super) const WAYS: [Way; 2] = [Way::One, Way::Two];

pub(super) struct Wire {
    mesh: Mesh,
    server: Option<Sandbox>,
    listener: TcpListener,
}

impl Wire {
    pub(super) async fn new(way: Way) -> Self {
        Self::hinted(way, protocol_hint::Protocol::H2(protocol_hint::H2 {})).await
    }

    /// The same where the control plane says this of the application, if it is of the mesh.
    pub(super) async fn hinted(way: Way, protocol: protocol_hint::Protocol) -> Self {
        let listener = TcpListener::bind("127.77.0.1:0").await.unwrap();
        let app = listener.local_addr().unwrap();
        let (mesh, server, endpoint) = match way {
            Way::One => (Mesh::start().await, None, plain(app)),
            Way::Two => {
                let server = Sandbox::start().await;
                let mesh = Mesh::of(server.issuer.clone(), &[]).await;
                let mut endpoint = meshed(app, SERVER);
                endpoint.protocol_hint = Some(ProtocolHint {
                    opaque_transport: Some(protocol_hint::OpaqueTransport {
                        inbound_port: server.inbound.port().into(),
                    }),
                    protocol: Some(protocol),
                });
                (mesh, Some(server), endpoint)
            }
        };
        mesh.control.policy(TO, first_available(&[LOCAL]));
        mesh.control.endpoints(LOCAL, &[endpoint]);
        Self {
            mesh,
            server,
            listener,
        }
    }

    /// The series of every sidecar on the way, without comments.
    pub(super) async fn series(&self) -> Vec<String> {
        let mut text = self.mesh.metrics();
        if let Some(server) = &self.server {
            let answer = server.admin("/metrics").await;
            text.push_str(answer.split_once("\r\n\r\n").unwrap().1);
        }
        let lines = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.map(str::to_owned).collect()
    }

    /// The label of the application's address where it is the target of requests.
    pub(super) fn target(&self) -> String {
        format!("target_addr=\"{}\"", self.listener.local_addr().unwrap())
    }

    pub(super) async fn client(&self) -> End {
        End(self.mesh.dial(TO).await)
    }

    /// The next connection to the application.
    pub(super) async fn app(&self) -> End {
        let accepted = timeout(PATIENCE, self.listener.accept()).await;
        End(accepted
            .expect("no connection to the application")
            .unwrap()
            .0)
    }

    /// One request and its response on connections of their own. Returns what the application and
    /// the client saw, each up to where it ends.
    pub(super) async fn exchange(&self, talk: Talk<'_>) -> (String, String) {
        let mut client = self.client().await;
        client.write(talk.request).await;
        let mut app = self.app().await;
        let seen = app.read_to(talk.request_ends).await;
        app.write(talk.response).await;
        if talk.app_closes {
            app.0.shutdown().await.unwrap();
        }
        let answer = client.read_to(talk.response_ends).await;
        (seen, answer)
    }
}

/// What is said, and by what its end is known at the other side.
#[derive(Clone, Copy)]
pub(super) struct Talk<'a> {
    pub(super) request: &'a str,
    pub(super) request_ends: &'a str,
    pub(super) response: &'a str,
    pub(super) response_ends: &'a str,
    pub(super) app_closes: bool,
}

impl Default for Talk<'_> {
    fn default() -> Self {
        Self {
            request: "GET / HTTP/1.1\r\nhost: web\r\n\r\n",
            request_ends: "\r\n\r\n",
            response: "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
            response_ends: "ok",
            app_closes: false,
        }
    }
}

/// One end of the wire.
pub(super) struct End(pub(super) TcpStream);

impl End {
    pub(super) async fn write(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads until what was read ends so.
    pub(super) async fn read_to(&mut self, end: &str) -> String {
        let mut bytes = Vec::new();
        let read = async {
            while !bytes.ends_with(end.as_bytes()) {
                if self.0.read_buf(&mut bytes).await.unwrap_or_default() == 0 {
                    panic!("closed after {:?}", String::from_utf8_lossy(&bytes));
                }
            }
        };
        let read = timeout(PATIENCE, read).await;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(read.is_ok(), "{end:?} never came after {text:?}");
        text
    }

    /// Reads until the other side closes.
    pub(super) async fn read_all(&mut self) -> String {
        let mut bytes = Vec::new();
        let read = timeout(PATIENCE, self.0.read_to_end(&mut bytes)).await;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(read.is_ok(), "not closed after {text:?}");
        text
    }
}
