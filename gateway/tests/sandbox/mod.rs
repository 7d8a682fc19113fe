//! The cast: see `clusters.rs`.

mod control;

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use linkerd2_proxy_api::destination::{
    AuthorityOverride, ProtocolHint, TlsIdentity, WeightedAddr,
    protocol_hint::{H2, OpaqueTransport, Protocol},
    tls_identity::{DnsLikeIdentity, Strategy},
};
use mesh_daemon::Trigger;
use mesh_proxy::{
    Config, Proxy,
    transport_header::{Header, Session},
};
use mesh_tls::{
    ClientStream, Target,
    testing::{Ca, Issuer},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
};

pub(crate) const CLIENT: &str = "client.default.serviceaccount.identity.linkerd.cluster.local";
pub(crate) const WEB: &str = "web.default.serviceaccount.identity.linkerd.cluster.local";
pub(crate) const GATEWAY: &str =
    "linkerd-gateway.linkerd-multicluster.serviceaccount.identity.linkerd.cluster.local";
const HOUR: Duration = Duration::from_secs(3600);

/// What the client calls, its cluster IP in west, and the name it has in east.
const SERVICES: &[(&str, &str, &str)] = &[
    ("web", "10.0.0.1:80", "web.default.svc.cluster.local:80"),
    (
        "secret",
        "10.0.0.2:80",
        "secret.default.svc.cluster.local:80",
    ),
    ("elsewhere", "10.0.0.3:80", "web.example.com:80"),
];

pub(crate) struct Clusters {
    issuer: Issuer,
    client: Pod,
    gateway: Pod,
    _web: Pod,
    east: control::Plane,
    waits: Arc<Notify>,
    endpoint: WeightedAddr,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
}

struct Pod {
    outbound: SocketAddr,
    inbound: SocketAddr,
    stop: Trigger,
    _token: tempfile::NamedTempFile,
}

impl Drop for Pod {
    fn drop(&mut self) {
        self.stop.shutdown();
    }
}

impl Clusters {
    pub(crate) async fn start() -> Self {
        let ca = Ca::new("root");
        let issuer = ca.issuer("issuer");
        let anchors = ca.0.cert_pem();
        let west = control::Plane::start(issuer.clone()).await;
        let east = control::Plane::start(issuer.clone()).await;
        let suffix = [("INBOUND_GATEWAY_SUFFIXES", "svc.cluster.local.")];
        let client = Pod::start([127, 78, 0, 1], CLIENT, west.addr, &anchors, &[]).await;
        let gateway = Pod::start([127, 78, 1, 1], GATEWAY, east.addr, &anchors, &suffix).await;
        let web = Pod::start([127, 78, 1, 2], WEB, east.addr, &anchors, &[]).await;
        let waits = Arc::new(Notify::new());
        let app = application([127, 78, 1, 2].into(), waits.clone()).await;
        for (_, addr, name) in SERVICES {
            west.policy(addr, name);
            west.endpoints(name, &[through_gateway(gateway.inbound, name)]);
        }
        let clusters = Self {
            endpoint: pod_endpoint(app, web.inbound.port()),
            issuer,
            client,
            gateway,
            _web: web,
            east,
            waits,
        };
        clusters.export("web");
        clusters
    }

    /// East's control plane knows the service from now on.
    pub(crate) fn export(&self, service: &str) {
        let (_, _, name) = self.service(service);
        self.east.policy(name, name);
        self.east
            .endpoints(name, std::slice::from_ref(&self.endpoint));
    }

    /// East's control plane denies the service from now on.
    pub(crate) fn withdraw(&self, service: &str) {
        let (_, _, name) = self.service(service);
        self.east.withdraw(name);
    }

    /// East's control plane says for how many seconds what it said holds, and falls silent.
    pub(crate) fn lease(&self, seconds: u32) {
        self.east.lease(seconds);
    }

    /// The application has been asked something that it does not answer.
    pub(crate) async fn waited(&self) {
        self.waits.notified().await;
    }

    /// Its last pod goes.
    pub(crate) fn remove(&self, service: &str) {
        let (_, _, name) = self.service(service);
        self.east.endpoints(name, &[]);
    }

    fn service(&self, service: &str) -> &'static (&'static str, &'static str, &'static str) {
        SERVICES.iter().find(|(s, ..)| *s == service).unwrap()
    }

    /// As west's client, with `curl -x`.
    pub(crate) async fn get(&self, service: &str, headers: &[(&str, &str)]) -> Answer {
        let (_, addr, _) = self.service(service);
        let mut request = format!("GET http://{addr}/path HTTP/1.1\r\nconnection: close\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        let mut io = TcpStream::connect(self.client.outbound).await.unwrap();
        io.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        io.read_to_string(&mut answer).await.unwrap();
        let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok());
        let text = answer
            .split_once("\r\n\r\n")
            .map(|(_, body)| body.to_owned());
        Answer {
            status: status.unwrap_or_else(|| panic!("no status: {answer}")),
            text: text.unwrap_or_default(),
        }
    }

    /// As west's client, with CONNECT.
    pub(crate) async fn bytes(&self, service: &str, bytes: &str) -> String {
        let mut io = self.tunnel(service).await;
        io.write_all(bytes.as_bytes()).await.unwrap();
        io.shutdown().await.unwrap();
        let mut answer = String::new();
        io.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// As west's client, with CONNECT, and open.
    pub(crate) async fn tunnel(&self, service: &str) -> TcpStream {
        let (_, addr, _) = self.service(service);
        let connect = format!("CONNECT {addr} HTTP/1.1\r\n\r\n");
        let (head, io) = self.ask(&connect).await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        io
    }

    /// As west's client: asks for a path, with more headers, and reads the head of the answer.
    pub(crate) async fn open(
        &self,
        service: &str,
        path: &str,
        headers: &str,
    ) -> (String, TcpStream) {
        let (_, addr, _) = self.service(service);
        self.ask(&format!(
            "GET http://{addr}{path} HTTP/1.1\r\nhost: {addr}\r\n{headers}\r\n"
        ))
        .await
    }

    async fn ask(&self, request: &str) -> (String, TcpStream) {
        let mut io = TcpStream::connect(self.client.outbound).await.unwrap();
        io.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(io.read_u8().await.unwrap());
        }
        (String::from_utf8(head).unwrap(), io)
    }

    /// Straight to the gateway with an identity of our choice; everything it answers.
    pub(crate) async fn direct(&self, id: &str, name: &str, http: bool) -> String {
        let session = http.then_some(Session::Http1);
        let mut io = self.dial(id, name, session).await;
        let request = format!("GET / HTTP/1.1\r\nhost: {name}\r\nconnection: close\r\n\r\n");
        let _ = io.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = io.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Sends so many requests to the gateway as one HTTP/2 client, and goes.
    pub(crate) async fn abandon(&self, requests: u32) {
        let (_, _, name) = self.service("web");
        let name = name.trim_end_matches(":80");
        let mut io = self.dial(CLIENT, name, Some(Session::Http2)).await;
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]); // SETTINGS
        // HEADERS: GET http://a/ in HPACK.
        let get = [0x82, 0x86, 0x84, 0x41, 1, b'a'];
        for request in 0..requests {
            bytes.extend([0, 0, 6, 1, 5]);
            bytes.extend((2 * request + 1).to_be_bytes());
            bytes.extend(get);
        }
        io.write_all(&bytes).await.unwrap();
        io.flush().await.unwrap();
        // The gateway has begun with them once it answers the first.
        io.read_u8().await.unwrap();
    }

    async fn dial(
        &self,
        id: &str,
        name: &str,
        session: Option<Session>,
    ) -> ClientStream<TcpStream> {
        let store = self.issuer.issue(&id.parse().unwrap(), HOUR);
        let target = Target {
            server_id: GATEWAY.parse().unwrap(),
            server_name: None,
            transport_header: true,
        };
        let tcp = TcpStream::connect(self.gateway.inbound).await.unwrap();
        let mut io = mesh_tls::connect(&store, &target, tcp).await.unwrap();
        let header = Header {
            port: 80,
            name: Some(name.to_owned()),
            session,
        };
        io.write_all(&header.encode()).await.unwrap();
        io
    }
}

impl Pod {
    async fn start(
        ip: impl Into<IpAddr>,
        id: &str,
        control: SocketAddr,
        anchors: &str,
        more: &[(&str, &str)],
    ) -> Self {
        let ip = ip.into();
        let token = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(token.path(), "token").unwrap();
        let control = control.to_string();
        let any = SocketAddr::new(ip, 0).to_string();
        let mut vars: HashMap<String, String> = HashMap::new();
        let base = [
            ("IDENTITY_TRUST_ANCHORS", anchors),
            ("IDENTITY_TOKEN_FILE", token.path().to_str().unwrap()),
            ("IDENTITY_LOCAL_NAME", id),
            ("IDENTITY_SVC_ADDR", &control),
            ("DESTINATION_SVC_ADDR", &control),
            ("POLICY_SVC_ADDR", &control),
            ("POLICY_WORKLOAD", "default:pod"),
            ("INBOUND_LISTEN_ADDR", &any),
            ("OUTBOUND_LISTEN_ADDR", &any),
            ("ADMIN_LISTEN_ADDR", &any),
            ("INBOUND_DEFAULT_POLICY", "all-unauthenticated"),
            ("SHUTDOWN_GRACE_PERIOD", "1s"),
        ];
        for (key, value) in base.iter().chain(more) {
            vars.insert(format!("LINKERD2_PROXY_{key}"), (*value).to_owned());
        }
        let config = Config::parse(&|key| vars.get(key).cloned(), Some(ip)).unwrap();
        let proxy = mesh_gateway::with_gateway(Proxy::new(config).unwrap());
        let store = proxy.runtime().store.clone();
        let bound = proxy.bind().await.unwrap();
        let (outbound, inbound) = (bound.outbound[0], bound.inbound);
        let (stop, shutdown) = mesh_daemon::shutdown();
        tokio::spawn(async move { bound.serve(shutdown).await.unwrap() });
        store.ready().await;
        Self {
            outbound,
            inbound,
            stop,
            _token: token,
        }
    }
}

/// The gateway's address, as west's control plane tells it.
fn through_gateway(addr: SocketAddr, name: &str) -> WeightedAddr {
    WeightedAddr {
        addr: Some(addr.into()),
        tls_identity: Some(identity(GATEWAY)),
        protocol_hint: Some(ProtocolHint {
            opaque_transport: None,
            protocol: Some(Protocol::H2(H2 {})),
        }),
        authority_override: Some(AuthorityOverride {
            authority_override: name.to_owned(),
        }),
        ..Default::default()
    }
}

/// A pod, as east's control plane tells it.
fn pod_endpoint(app: SocketAddr, inbound_port: u16) -> WeightedAddr {
    WeightedAddr {
        addr: Some(app.into()),
        tls_identity: Some(identity(WEB)),
        protocol_hint: Some(ProtocolHint {
            opaque_transport: Some(OpaqueTransport {
                inbound_port: inbound_port.into(),
            }),
            protocol: Some(Protocol::H2(H2 {})),
        }),
        ..Default::default()
    }
}

fn identity(name: &str) -> TlsIdentity {
    TlsIdentity {
        server_name: None,
        strategy: Some(Strategy::DnsLikeIdentity(DnsLikeIdentity {
            name: name.to_owned(),
        })),
    }
}

/// Sends a byte to the application and has it back.
pub(crate) async fn ping(io: &mut TcpStream) {
    io.write_all(b"!").await.unwrap();
    assert_eq!(io.read_u8().await.unwrap(), b'!');
}

/// Answers HTTP with the head it saw, and other bytes with an echo: of all of them at their end, or of each
/// `!` at once. `/begin` begins an answer and goes no further, `/chat` becomes bytes.
async fn application(ip: IpAddr, waits: Arc<Notify>) -> SocketAddr {
    let listener = TcpListener::bind((ip, 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((io, _)) = listener.accept().await {
            tokio::spawn(converse(io, waits.clone()));
        }
    });
    addr
}

async fn converse(mut io: TcpStream, waits: Arc<Notify>) {
    let mut seen = Vec::new();
    loop {
        if io.read_buf(&mut seen).await.unwrap_or_default() == 0 {
            let _ = io.write_all(b"echo: ").await;
            let _ = io.write_all(&seen).await;
            return;
        }
        if seen == b"!" {
            let _ = io.write_all(b"!").await;
            seen.clear();
        }
        if seen.starts_with(b"GET /begin ") && seen.ends_with(b"\r\n\r\n") {
            let _ = io
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nbegun")
                .await;
            seen.clear();
        }
        if seen.starts_with(b"GET /chat ") && seen.ends_with(b"\r\n\r\n") {
            let _ = io
                .write_all(
                    b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\n",
                )
                .await;
            seen.clear();
        }
        // Not answered at all, for as long as it is asked.
        if seen.starts_with(b"GET /wait ") {
            waits.notify_one();
            continue;
        }
        if seen.starts_with(b"GET ") && seen.ends_with(b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&seen).replace('\r', "");
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{head}",
                head.len()
            );
            let _ = io.write_all(answer.as_bytes()).await;
            seen.clear();
        }
    }
}
