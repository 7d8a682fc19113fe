//! A sidecar's inbound half, its application, its control plane and its clients, in one process.
//!
//! Everything listens on addresses of 127.77.0.0/16, so that clients do not come from 127.0.0.1,
//! which every policy allows.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use linkerd2_proxy_api::{
    destination::destination_server::DestinationServer,
    identity::identity_server::IdentityServer,
    inbound::{
        self as api, PortSpec, Server,
        inbound_server_policies_server::{InboundServerPolicies, InboundServerPoliciesServer},
    },
};
use mesh_daemon::Trigger;
use mesh_federation::{Directives, WatchDirectives};
use mesh_tls::{
    Id, Store, Target,
    control::Services,
    testing::{Ca, Issuer},
};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    task::JoinHandle,
};
use tokio_stream::wrappers::{TcpListenerStream, WatchStream};
use tonic::{Request, Response, Status};

use crate::{
    Bound, Config, Proxy,
    http::Body,
    inbound::gateway::Gateway,
    io::{BoxIo, boxed},
    outbound::tests::sandbox::ControlPlane,
    transport_header::{Header, Session},
};

pub(crate) const SERVER: &str = "web.default.serviceaccount.identity.linkerd.cluster.local";
pub(crate) const CLIENT: &str = "client.default.serviceaccount.identity.linkerd.cluster.local";
const POD: [u8; 4] = [127, 77, 0, 1];
const PEER: [u8; 4] = [127, 77, 0, 2];

/// Everything a test talks to.
pub(crate) struct Sandbox {
    pub(crate) inbound: SocketAddr,
    pub(crate) outbound: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// Where those who look at requests ask, if anybody may.
    pub(crate) tap: Option<SocketAddr>,
    pub(crate) policies: Script,
    /// Its discovery.
    pub(crate) destination: ControlPlane,
    /// What it is told beyond policies.
    pub(crate) directives: Arc<watch::Sender<Directives>>,
    pub(crate) ca: Ca,
    pub(crate) issuer: Issuer,
    pub(crate) stop: Trigger,
    pub(crate) stopped: JoinHandle<()>,
    vars: HashMap<String, String>,
    _token: tempfile::NamedTempFile,
}

/// The policies the control plane answers, by port; change them at any time.
#[derive(Clone)]
pub(crate) struct Script(Arc<watch::Sender<HashMap<u16, Server>>>, Arc<Mutex<Asked>>);

/// What was asked of a control plane.
#[derive(Default)]
struct Asked {
    ports: Vec<u16>,
    /// About these it says nothing, not even that it knows nothing.
    silent: HashSet<u16>,
}

impl Script {
    /// Answers questions about a port with silence until there is a policy.
    pub(crate) fn silence(&self, port: u16) {
        self.1.lock().silent.insert(port);
    }

    /// How often it was asked about a port.
    pub(crate) fn asked(&self, port: u16) -> usize {
        let asked = self.1.lock();
        asked.ports.iter().filter(|asked| **asked == port).count()
    }

    pub(crate) fn set(&self, port: u16, server: Server) {
        self.0.send_modify(|all| drop(all.insert(port, server)));
    }
}

#[derive(Default)]
pub(crate) struct Options {
    pub(crate) vars: Vec<(&'static str, String)>,
    pub(crate) gateway: Option<Arc<dyn Gateway>>,
    /// Whether it runs in the `loopback` network, where neighbours have loopback addresses, too.
    pub(crate) loopback: bool,
}

impl Sandbox {
    pub(crate) async fn start() -> Self {
        Self::with(Options::default()).await
    }

    pub(crate) async fn with(options: Options) -> Self {
        let sandbox = Self::starting(options).await;
        eventually("ready", || async {
            sandbox.admin("/ready").await.starts_with("HTTP/1.1 200")
        })
        .await;
        sandbox
    }

    /// The same before it is ready.
    pub(crate) async fn starting(options: Options) -> Self {
        let ca = Ca::new("root");
        let issuer = ca.issuer("issuer");
        let policies = Script(Arc::new(watch::Sender::new(HashMap::new())), Arc::default());
        let directives = Arc::new(watch::Sender::default());
        let destination = ControlPlane::default();
        let services = services(&issuer, &policies, &destination, &directives);
        let control = control_plane(services).await;
        let token = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(token.path(), "token").unwrap();
        let pod = |port: u16| SocketAddr::from((POD, port)).to_string();
        let mut vars: HashMap<String, String> = HashMap::new();
        for (key, value) in [
            ("IDENTITY_TRUST_ANCHORS", ca.0.cert_pem()),
            ("IDENTITY_TOKEN_FILE", token.path().display().to_string()),
            ("IDENTITY_LOCAL_NAME", SERVER.into()),
            ("IDENTITY_SVC_ADDR", control.to_string()),
            ("DESTINATION_SVC_ADDR", control.to_string()),
            ("POLICY_SVC_ADDR", control.to_string()),
            ("POLICY_WORKLOAD", "default:web".into()),
            ("INBOUND_LISTEN_ADDR", pod(0)),
            ("OUTBOUND_LISTEN_ADDR", pod(0)),
            ("ADMIN_LISTEN_ADDR", pod(0)),
            ("CONTROL_LISTEN_ADDR", pod(0)),
            ("INBOUND_DETECT_TIMEOUT", "2s".into()),
            ("SHUTDOWN_GRACE_PERIOD", "5s".into()),
        ]
        .into_iter()
        .chain(options.vars)
        {
            vars.insert(format!("LINKERD2_PROXY_{key}"), value);
        }
        let pod_ip = options.loopback.then(|| POD.into());
        let config = Config::parse(&|key| vars.get(key).cloned(), pod_ip).unwrap();
        let mut proxy = Proxy::new(config).unwrap();
        if let Some(gateway) = options.gateway {
            proxy = proxy.with_gateway(gateway);
        }
        let bound: Bound = proxy.bind().await.unwrap();
        let (inbound, outbound, admin) = (bound.inbound, bound.outbound[0], bound.admin);
        let tap = bound.tap;
        let (stop, shutdown) = mesh_daemon::shutdown();
        let stopped = tokio::spawn(async move { bound.serve(shutdown).await.unwrap() });
        Self {
            inbound,
            outbound,
            admin,
            tap,
            policies,
            destination,
            directives,
            ca,
            issuer,
            stop,
            stopped,
            vars,
            _token: token,
        }
    }

    /// The configuration it runs with, but for the default policy.
    pub(crate) fn config(&self, default_policy: &str) -> Config {
        let lookup = |key: &str| match key {
            "LINKERD2_PROXY_INBOUND_DEFAULT_POLICY" => Some(default_policy.to_owned()),
            key => self.vars.get(key).cloned(),
        };
        Config::parse(&lookup, None).unwrap()
    }

    /// Another process at the same addresses, as if started to replace the one there is.
    pub(crate) async fn successor(&self) -> (Trigger, JoinHandle<()>) {
        let lookup = |key: &str| match key {
            "LINKERD2_PROXY_INBOUND_LISTEN_ADDR" => Some(self.inbound.to_string()),
            "LINKERD2_PROXY_OUTBOUND_LISTEN_ADDR" => Some(self.outbound.to_string()),
            "LINKERD2_PROXY_ADMIN_LISTEN_ADDR" => Some(self.admin.to_string()),
            key => self.vars.get(key).cloned(),
        };
        let config = Config::parse(&lookup, None).unwrap();
        let bound = Proxy::new(config).unwrap().bind().await.unwrap();
        let (stop, shutdown) = mesh_daemon::shutdown();
        let stopped = tokio::spawn(async move { bound.serve(shutdown).await.unwrap() });
        (stop, stopped)
    }

    /// Credentials of the usual client.
    pub(crate) fn client(&self) -> Store {
        self.issuer.issue(&id(CLIENT), HOUR)
    }

    /// A raw connection to the inbound listener, from another pod.
    pub(crate) async fn dial(&self) -> TcpStream {
        dial(self.inbound).await
    }

    /// Mesh TLS to the inbound listener.
    pub(crate) async fn tls(&self, store: &Store, transport_header: bool) -> BoxIo {
        let target = Target {
            server_id: id(SERVER),
            server_name: None,
            transport_header,
        };
        let io = self.dial().await;
        let io = mesh_tls::connect(store, &target, io).await.unwrap();
        assert_eq!(io.transport_header(), transport_header);
        boxed(io)
    }

    /// A direct connection with its header written.
    pub(crate) async fn direct(&self, header: Header) -> BoxIo {
        self.direct_as(CLIENT, header).await
    }

    /// The same as somebody else.
    pub(crate) async fn direct_as(&self, client: &str, header: Header) -> BoxIo {
        let store = self.issuer.issue(&id(client), HOUR);
        let mut io = self.tls(&store, true).await;
        io.write_all(&header.encode()).await.unwrap();
        io
    }

    /// One HTTP/1 request over a direct connection to `port`.
    pub(crate) async fn get(&self, port: u16, request: &str) -> String {
        let mut io = self.direct(to_port(port, Session::Http1)).await;
        io.write_all(request.as_bytes()).await.unwrap();
        read_response(&mut io).await
    }

    /// A request to the workload behind `listener`, and both ends of its response: `begun`, and no
    /// more of the `length` bytes that it has.
    pub(crate) async fn begin(&self, listener: &TcpListener, length: usize) -> (BoxIo, TcpStream) {
        let port = listener.local_addr().unwrap().port();
        let mut client = self.direct(to_port(port, Session::Http1)).await;
        client.write_all(super::REQUEST.as_bytes()).await.unwrap();
        let (mut app, _) = listener.accept().await.unwrap();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\nbegun");
        app.write_all(head.as_bytes()).await.unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"begun") {
            assert!(client.read_buf(&mut seen).await.unwrap() > 0);
        }
        (client, app)
    }

    /// One request to the admin server from inside the pod.
    pub(crate) async fn admin(&self, path: &str) -> String {
        let mut io = TcpStream::connect(self.admin).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        io.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        io.read_to_string(&mut text).await.unwrap();
        text
    }

    /// The sum of the series whose line contains all of `parts`.
    pub(crate) async fn metric(&self, parts: &[&str]) -> u64 {
        let text = self.admin("/metrics").await;
        text.lines()
            .filter(|line| !line.starts_with('#') && parts.iter().all(|part| line.contains(part)))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .sum()
    }
}

/// What a client says before it speaks HTTP with a port.
pub(crate) fn to_port(port: u16, session: Session) -> Header {
    Header {
        port,
        name: None,
        session: Some(session),
    }
}

/// A client that speaks HTTP/2.
pub(crate) async fn h2(io: BoxIo) -> SendRequest<Body> {
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await;
    let (send, connection) = handshake.unwrap();
    tokio::spawn(connection);
    send
}

/// An application that says what it saw: `<version> <target> <client id or ->`, then the body.
pub(crate) async fn app() -> u16 {
    app_at(0).await
}

/// The same at a port of the test's choice.
pub(crate) async fn app_at(port: u16) -> u16 {
    let addr = SocketAddr::from((POD, port));
    let listener = TcpListener::bind(addr).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((io, _)) = listener.accept().await {
            let service = hyper::service::service_fn(|request: http::Request<_>| async move {
                let (parts, body): (_, hyper::body::Incoming) = http::Request::into_parts(request);
                let client = parts.headers.get("l5d-client-id");
                let client = client.map_or("-", |id| id.to_str().unwrap()).to_owned();
                let odd = parts
                    .headers
                    .keys()
                    .any(|name| name == "l5d-orig-proto" || name == "x-hop");
                let mut text =
                    format!("{:?} {} {client} {odd}\n", parts.version, parts.uri).into_bytes();
                text.extend(body.collect().await?.to_bytes());
                let response = http::Response::builder()
                    .header("l5d-proxy-error", "says the application")
                    .body(Full::new(Bytes::from(text)));
                Ok::<_, hyper::Error>(response.unwrap())
            });
            tokio::spawn(async move {
                let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                let _ = builder.serve_connection(TokioIo::new(io), service).await;
            });
        }
    });
    port
}

/// An application that echoes bytes and says `bye` at the end of its input.
pub(crate) async fn echo() -> u16 {
    let listener = TcpListener::bind(SocketAddr::from((POD, 0))).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut io, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = io.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
                let _ = write.write_all(b"bye").await;
                let _ = write.shutdown().await;
            });
        }
    });
    port
}

/// A port on which nobody listens.
pub(crate) async fn nobody() -> u16 {
    let listener = TcpListener::bind(SocketAddr::from((POD, 0))).await.unwrap();
    listener.local_addr().unwrap().port()
}

pub(crate) async fn dial(addr: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((PEER, 0))).unwrap();
    socket.connect(addr).await.unwrap()
}

/// A policy of any kind for clients with these identities.
pub(crate) fn server(kind: api::proxy_protocol::Kind, identities: &[&str]) -> Server {
    use api::authn::{Permit, PermitMeshTls, permit_mesh_tls as mesh};
    let clients = mesh::Clients::Identities(mesh::PermitClientIdentities {
        identities: identities
            .iter()
            .map(|name| api::Identity {
                name: name.to_string(),
            })
            .collect(),
        suffixes: vec![],
    });
    let everywhere: ipnet::IpNet = "0.0.0.0/0".parse().unwrap();
    Server {
        protocol: Some(api::ProxyProtocol { kind: Some(kind) }),
        authorizations: vec![api::Authz {
            networks: vec![api::Network {
                net: Some(everywhere.into()),
                except: vec![],
            }],
            authentication: Some(api::Authn {
                permit: Some(Permit::MeshTls(PermitMeshTls {
                    clients: Some(clients),
                })),
            }),
            ..Default::default()
        }],
        ..Default::default()
    }
}

pub(crate) fn detect(identities: &[&str]) -> Server {
    let detect = api::proxy_protocol::Detect {
        timeout: Some(prost_types::Duration {
            seconds: 2,
            nanos: 0,
        }),
        ..Default::default()
    };
    server(api::proxy_protocol::Kind::Detect(detect), identities)
}

pub(crate) fn opaque(identities: &[&str]) -> Server {
    let opaque = api::proxy_protocol::Opaque {};
    server(api::proxy_protocol::Kind::Opaque(opaque), identities)
}

pub(crate) fn id(name: &str) -> Id {
    name.parse().unwrap()
}

/// Waits until `check` holds, for as long as a test may take.
pub(crate) async fn eventually<F>(what: &str, mut check: impl FnMut() -> F)
where
    F: Future<Output = bool>,
{
    let waited = tokio::time::timeout(Duration::from_secs(20), async {
        while !check().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(waited.await.is_ok(), "never happened: {what}");
}

/// Reads until the peer closes, however it does.
pub(crate) async fn read_to_end(io: &mut BoxIo) -> Vec<u8> {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), io.read_to_end(&mut bytes));
    let _ = read.await.expect("the connection was not closed");
    bytes
}

/// Reads one response with a `content-length`.
pub(crate) async fn read_response(io: &mut BoxIo) -> String {
    let mut bytes = Vec::new();
    let whole = async {
        loop {
            let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
            if let Some(head) = text.find("\r\n\r\n") {
                let length = text
                    .split("content-length: ")
                    .nth(1)
                    .and_then(|rest| rest.split("\r\n").next()?.parse::<usize>().ok());
                if bytes.len() >= head + 4 + length.unwrap_or_default() {
                    return;
                }
            }
            if io.read_buf(&mut bytes).await.unwrap_or_default() == 0 {
                return;
            }
        }
    };
    let read = tokio::time::timeout(Duration::from_secs(20), whole);
    read.await.expect("no response");
    String::from_utf8(bytes).unwrap()
}

pub(crate) const HOUR: Duration = Duration::from_secs(60 * 60);

fn services(
    issuer: &Issuer,
    policies: &Script,
    destination: &ControlPlane,
    directives: &Arc<watch::Sender<Directives>>,
) -> Services {
    let directives = directives.clone();
    let directives = mesh_federation::Server::<WatchDirectives>::new(move |_| {
        Ok(WatchStream::new(directives.subscribe()).map(Ok).boxed())
    });
    Services::new()
        .add(directives)
        .add(IdentityServer::new(issuer.clone()))
        .add(DestinationServer::new(destination.clone()))
        .add(InboundServerPoliciesServer::new(policies.clone()))
}

async fn control_plane(services: Services) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(
        tonic::transport::Server::builder()
            .serve_with_incoming(services, TcpListenerStream::new(listener)),
    );
    addr
}

#[tonic::async_trait]
impl InboundServerPolicies for Script {
    type WatchPortStream = Pin<Box<dyn Stream<Item = Result<Server, Status>> + Send>>;

    async fn get_port(&self, _: Request<PortSpec>) -> Result<Response<Server>, Status> {
        Err(Status::unimplemented("not part of this play"))
    }

    async fn watch_port(
        &self,
        request: Request<PortSpec>,
    ) -> Result<Response<Self::WatchPortStream>, Status> {
        let port = request.into_inner().port as u16;
        let is_silent = {
            let mut asked = self.1.lock();
            asked.ports.push(port);
            asked.silent.contains(&port)
        };
        if !is_silent && !self.0.borrow().contains_key(&port) {
            return Err(Status::not_found("no policy"));
        }
        let all = WatchStream::new(self.0.subscribe());
        let mut last = None;
        let one = all.filter_map(move |all| {
            let server = all.get(&port).cloned().filter(|s| last.as_ref() != Some(s));
            if server.is_some() {
                last.clone_from(&server);
            }
            async move { server.map(Ok) }
        });
        Ok(Response::new(Box::pin(one)))
    }
}
