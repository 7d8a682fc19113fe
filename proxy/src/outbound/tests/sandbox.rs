//! A mesh in one process: a scripted control plane, peers with mesh TLS, and the outbound half
//! between them and a client.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ::http::{Request, Response};
use bytes::Bytes;
use futures::{StreamExt, future::BoxFuture, stream::BoxStream};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use linkerd2_proxy_api::{
    destination::{
        self as dst, AddrSet, DestinationProfile, GetDestination, NoEndpoints, TlsIdentity, Update,
        WeightedAddr, WeightedAddrSet,
        destination_server::{Destination, DestinationServer},
        protocol_hint, tls_identity, update,
    },
    meta,
    outbound::{
        self as api, OutboundPolicy, TrafficSpec,
        outbound_policies_server::{OutboundPolicies, OutboundPoliciesServer},
        traffic_spec,
    },
};
use mesh_tls::{Id, Store, testing};
use parking_lot::Mutex;
use tokio::{
    net::TcpListener,
    sync::watch,
    task::{JoinHandle, JoinSet},
};
use tonic::Status;
use tower_service::Service;

use crate::{
    Config, Error, Runtime,
    directives::Directives,
    http::Body,
    metrics::Metrics,
    outbound::{
        Outbound,
        http::{Origin, answer},
    },
    transport_header::{self, Header},
};

pub(crate) const CLIENT: &str = "client.default.serviceaccount.identity.linkerd.cluster.local";
pub(crate) const WEB: &str = "web.default.serviceaccount.identity.linkerd.cluster.local";
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// The whole cast.
pub(crate) struct Mesh {
    pub(crate) control: ControlPlane,
    pub(crate) issuer: testing::Issuer,
    pub(crate) outbound: Outbound,
    /// What the outbound half is certified with.
    pub(crate) store: Store,
    /// What it was told beyond discovery; nothing, at first.
    pub(crate) directives: Directives,
    _control_task: JoinHandle<()>,
}

impl Mesh {
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// With more variables.
    pub(crate) async fn with(vars: &[(&str, &str)]) -> Self {
        Self::of(testing::Ca::new("test").issuer("issuer"), vars).await
    }

    /// Certified by somebody known already.
    pub(crate) async fn of(issuer: testing::Issuer, vars: &[(&str, &str)]) -> Self {
        let store = issuer.issue(&CLIENT.parse().unwrap(), HOUR);
        let control = ControlPlane::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let task = tokio::spawn(control.clone().serve(listener));
        let runtime = runtime(addr, store.clone(), vars);
        Self {
            control,
            issuer,
            outbound: Outbound::new(&runtime),
            directives: runtime.directives,
            store,
            _control_task: task,
        }
    }

    pub(crate) fn issue(&self, id: &str) -> Store {
        self.issuer.issue(&id.parse().unwrap(), HOUR)
    }

    /// What Prometheus would read.
    pub(crate) fn metrics(&self) -> String {
        self.outbound.0.metrics.render()
    }

    /// A meshed peer called `name` that answers with its name.
    pub(crate) async fn peer(&self, name: &'static str) -> Peer {
        Peer::start(Some(self.issue(WEB)), name).await
    }

    /// A connection to `to` as the application makes it, without the redirect.
    pub(crate) async fn dial(&self, to: &str) -> tokio::net::TcpStream {
        let (client, io) = accepted().await;
        let shared = self.outbound.0.clone();
        let to: SocketAddr = to.parse().unwrap();
        tokio::spawn(async move {
            let (_drainer, drain) = mesh_daemon::drain::drain();
            let _ = crate::outbound::accept::to_target(&shared, io, to, &drain).await;
        });
        client
    }

    /// The same as an ingress makes it.
    pub(crate) async fn dial_ingress(&self, to: &str) -> tokio::net::TcpStream {
        let (client, io) = accepted().await;
        let shared = self.outbound.0.clone();
        let to: SocketAddr = to.parse().unwrap();
        tokio::spawn(async move {
            let (_drainer, drain) = mesh_daemon::drain::drain();
            let _ = crate::outbound::ingress::serve(&shared, io, to, &drain).await;
        });
        client
    }

    /// As the application of this pod: a request to the address `to`.
    pub(crate) async fn send(&self, to: &str, request: Request<Body>) -> Result<Answer, Error> {
        let shared = &self.outbound.0;
        let target = shared.discovery.addr(to.parse().unwrap()).await?;
        let response = answer(shared, Origin::Workload, &target, request).await?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.map_err(Error::Other)?.to_bytes();
        Ok(Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            version: parts.version,
            extensions: parts.extensions,
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    }

    pub(crate) async fn get(&self, to: &str) -> Result<Answer, Error> {
        self.send(to, request("GET", "")).await
    }

    /// How often each peer answered `n` GETs.
    pub(crate) async fn spread(&self, to: &str, n: usize) -> BTreeMap<String, usize> {
        let mut count = BTreeMap::new();
        for _ in 0..n {
            let answer = self.get(to).await.unwrap();
            *count.entry(answer.body).or_default() += 1;
        }
        count
    }
}

/// Both ends of a connection, that of the proxy as it sets it up.
async fn accepted() -> (tokio::net::TcpStream, crate::io::BoxIo) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connect = tokio::net::TcpStream::connect(listener.local_addr().unwrap());
    let (client, accepted) = tokio::join!(connect, listener.accept());
    let (io, _) = accepted.unwrap();
    io.set_nodelay(true).unwrap();
    (client.unwrap(), crate::io::boxed(io))
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: ::http::HeaderMap,
    pub(crate) version: ::http::Version,
    pub(crate) extensions: ::http::Extensions,
    pub(crate) body: String,
}

/// An HTTP/1.1 request as an application writes it.
pub(crate) fn request(method: &str, body: &str) -> Request<Body> {
    let body = match body {
        "" => Body::empty(),
        body => Body::full(body.to_owned()),
    };
    Request::builder()
        .method(method)
        .uri("/path")
        .header("host", "web.default")
        .body(body)
        .unwrap()
}

fn runtime(control: SocketAddr, store: Store, vars: &[(&str, &str)]) -> Runtime {
    let anchors = mesh_tls::ca::Anchor::generate("unused", HOUR).unwrap();
    let anchors = anchors.cert_pem();
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "token").unwrap();
    let control = control.to_string();
    let mut all: HashMap<String, String> = HashMap::new();
    let base = [
        ("IDENTITY_TRUST_ANCHORS", anchors.as_str()),
        ("IDENTITY_TOKEN_FILE", token.path().to_str().unwrap()),
        ("IDENTITY_LOCAL_NAME", CLIENT),
        ("IDENTITY_SVC_ADDR", "127.0.0.1:1"),
        ("DESTINATION_SVC_ADDR", &control),
        ("POLICY_SVC_ADDR", &control),
        ("POLICY_WORKLOAD", "default:client"),
    ];
    for (key, value) in base.iter().chain(vars) {
        all.insert(format!("LINKERD2_PROXY_{key}"), (*value).to_owned());
    }
    let loopback = Some([127, 0, 0, 1].into());
    let config = Config::parse(&|key| all.get(key).cloned(), loopback).unwrap();
    Runtime {
        config: Arc::new(config),
        store,
        metrics: Metrics::new(HOUR),
        resolver: mesh_daemon::net::Resolver::new(None),
        witnesses: Default::default(),
        directives: Default::default(),
    }
}

// === the control plane ===

#[derive(Clone, Default)]
pub(crate) struct ControlPlane(Arc<Script>);

#[derive(Default)]
struct Script {
    /// By address or name; absent: `NotFound`, none: silence.
    policies: Mutex<HashMap<String, watch::Sender<Option<OutboundPolicy>>>>,
    endpoints: Mutex<HashMap<String, watch::Sender<Vec<WeightedAddr>>>>,
    /// By path; absent: `Unimplemented`.
    profiles: Mutex<HashMap<String, watch::Sender<DestinationProfile>>>,
    /// Paths whose endpoints are `NotFound`.
    denied: Mutex<HashSet<String>>,
    /// Labels of all endpoints beside their namespace.
    labels: Mutex<HashMap<String, String>>,
    /// Paths of which nothing is said, not even that there are no endpoints.
    unanswered: Mutex<HashSet<String>>,
    /// Questions asked, for claims about caching.
    asked: Mutex<Vec<String>>,
    cut: watch::Sender<u64>,
    silent: AtomicBool,
}

impl ControlPlane {
    async fn serve(self, listener: TcpListener) {
        let destination = DestinationServer::new(self.clone());
        let policies = OutboundPoliciesServer::new(self);
        let service = hyper::service::service_fn(move |request: Request<Incoming>| {
            let (mut destination, mut policies) = (destination.clone(), policies.clone());
            async move {
                match request.uri().path().contains("destination") {
                    true => destination.call(request).await,
                    false => policies.call(request).await,
                }
            }
        });
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            tokio::spawn(server.serve_connection(TokioIo::new(tcp), service.clone()));
        }
    }

    /// What is answered about an address (or name).
    pub(crate) fn policy(&self, target: &str, policy: OutboundPolicy) {
        let mut policies = self.0.policies.lock();
        let sender = policies.entry(target.to_owned()).or_default();
        sender.send_replace(Some(policy));
    }

    /// Knows the target, but does not answer.
    pub(crate) fn silence(&self, target: &str) {
        let sender = watch::Sender::new(None);
        self.0.policies.lock().insert(target.to_owned(), sender);
    }

    /// The endpoints of a path.
    pub(crate) fn endpoints(&self, path: &str, endpoints: &[WeightedAddr]) {
        let mut all = self.0.endpoints.lock();
        let sender = all.entry(path.to_owned()).or_default();
        sender.send_replace(endpoints.to_vec());
    }

    /// What is said of endpoints from now on, of all of a path at once.
    pub(crate) fn label(&self, key: &str, value: &str) {
        let mut labels = self.0.labels.lock();
        labels.insert(key.to_owned(), value.to_owned());
    }

    /// The profile of a path.
    pub(crate) fn profile(&self, path: &str, profile: DestinationProfile) {
        let mut profiles = self.0.profiles.lock();
        let sender = profiles.entry(path.to_owned()).or_default();
        sender.send_replace(profile);
    }

    /// Knows nothing of a path when asked for its endpoints again.
    pub(crate) fn deny(&self, path: &str) {
        self.0.denied.lock().insert(path.to_owned());
    }

    /// Takes questions about the endpoints of a path and does not answer them.
    pub(crate) fn ignore(&self, path: &str) {
        self.0.unanswered.lock().insert(path.to_owned());
    }

    /// There is nothing of a path any more, by words and not by silence.
    pub(crate) fn withdraw(&self, path: &str) {
        self.deny(path);
        self.endpoints(path, &[]);
    }

    /// Ends every stream.
    pub(crate) fn cut(&self) {
        self.0.cut.send_modify(|n| *n += 1);
    }

    /// Refuses new streams as an overloaded server does, or no more.
    pub(crate) fn set_away(&self, away: bool) {
        self.0.silent.store(away, Ordering::SeqCst);
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.0.asked.lock().clone()
    }

    fn ask(&self, question: String) -> Result<(), Status> {
        self.0.asked.lock().push(question);
        match self.0.silent.load(Ordering::SeqCst) {
            true => Err(Status::unavailable("away")),
            false => Ok(()),
        }
    }

    fn until_cut<T: Send + 'static>(
        &self,
        stream: impl futures::Stream<Item = Result<T, Status>> + Send + 'static,
    ) -> BoxStream<'static, Result<T, Status>> {
        let mut cut = self.0.cut.subscribe();
        stream
            .take_until(async move { cut.changed().await.is_ok() })
            .boxed()
    }
}

#[tonic::async_trait]
impl OutboundPolicies for ControlPlane {
    async fn get(
        &self,
        _: tonic::Request<TrafficSpec>,
    ) -> Result<tonic::Response<OutboundPolicy>, Status> {
        Err(Status::unimplemented("diagnostics only"))
    }

    type WatchStream = BoxStream<'static, Result<OutboundPolicy, Status>>;

    async fn watch(
        &self,
        request: tonic::Request<TrafficSpec>,
    ) -> Result<tonic::Response<Self::WatchStream>, Status> {
        let target = match request.into_inner().target.unwrap() {
            traffic_spec::Target::Addr(addr) => SocketAddr::try_from(addr).unwrap().to_string(),
            traffic_spec::Target::Authority(name) => name,
        };
        self.ask(format!("policy {target}"))?;
        let receiver = self.0.policies.lock().get(&target).map(|s| s.subscribe());
        let receiver = receiver.ok_or_else(|| Status::not_found("no such target"))?;
        let stream = tokio_stream::wrappers::WatchStream::new(receiver)
            .filter_map(|policy| async move { policy.map(Ok) });
        Ok(tonic::Response::new(self.until_cut(stream)))
    }
}

#[tonic::async_trait]
impl Destination for ControlPlane {
    type GetStream = BoxStream<'static, Result<Update, Status>>;
    type GetProfileStream = BoxStream<'static, Result<DestinationProfile, Status>>;

    async fn get(
        &self,
        request: tonic::Request<GetDestination>,
    ) -> Result<tonic::Response<Self::GetStream>, Status> {
        let path = request.into_inner().path;
        self.ask(format!("endpoints {path}"))?;
        if self.0.denied.lock().contains(&path) {
            return Err(Status::not_found("no such path"));
        }
        if self.0.unanswered.lock().contains(&path) {
            let silence = self.until_cut(futures::stream::pending());
            return Ok(tonic::Response::new(silence));
        }
        let script = self.0.clone();
        let mut endpoints = self.0.endpoints.lock();
        let receiver = endpoints.entry(path.clone()).or_default().subscribe();
        drop(endpoints);
        let mut before: Vec<WeightedAddr> = Vec::new();
        let updates = tokio_stream::wrappers::WatchStream::new(receiver)
            .flat_map(move |now| {
                let exists = !script.denied.lock().contains(&path);
                let before = std::mem::replace(&mut before, now.clone());
                let mut updates = diff(&before, &now, exists);
                for update in &mut updates {
                    if let update::Update::Add(set) = update {
                        set.metric_labels.extend(script.labels.lock().clone());
                    }
                }
                futures::stream::iter(updates)
            })
            .map(|update| {
                Ok(Update {
                    update: Some(update),
                })
            });
        Ok(tonic::Response::new(self.until_cut(updates)))
    }

    async fn get_profile(
        &self,
        request: tonic::Request<GetDestination>,
    ) -> Result<tonic::Response<Self::GetProfileStream>, Status> {
        let path = request.into_inner().path;
        let receiver = self.0.profiles.lock().get(&path).map(|s| s.subscribe());
        let receiver = receiver.ok_or_else(|| Status::unimplemented("no profiles"))?;
        let stream = tokio_stream::wrappers::WatchStream::new(receiver).map(Ok);
        Ok(tonic::Response::new(self.until_cut(stream)))
    }
}

fn diff(before: &[WeightedAddr], now: &[WeightedAddr], exists: bool) -> Vec<update::Update> {
    if now.is_empty() {
        return vec![update::Update::NoEndpoints(NoEndpoints { exists })];
    }
    let mut updates = vec![update::Update::Add(WeightedAddrSet {
        addrs: now.to_vec(),
        metric_labels: [("namespace".to_owned(), "default".to_owned())].into(),
    })];
    let gone = before
        .iter()
        .filter(|old| now.iter().all(|new| new.addr != old.addr))
        .filter_map(|old| old.addr);
    let addrs: Vec<_> = gone.collect();
    if !addrs.is_empty() {
        updates.push(update::Update::Remove(AddrSet { addrs }));
    }
    updates
}

// === policies ===

/// One route over the balancers of `paths`, the first available.
pub(crate) fn first_available(paths: &[&str]) -> OutboundPolicy {
    let http = |paths: &[&str]| api::http_route::Distribution {
        kind: Some(api::http_route::distribution::Kind::FirstAvailable(
            api::http_route::distribution::FirstAvailable {
                backends: paths
                    .iter()
                    .map(|path| api::http_route::RouteBackend {
                        backend: Some(balancer(path)),
                        ..Default::default()
                    })
                    .collect(),
            },
        )),
    };
    let opaque = api::opaque_route::Distribution {
        kind: Some(api::opaque_route::distribution::Kind::FirstAvailable(
            api::opaque_route::distribution::FirstAvailable {
                backends: paths
                    .iter()
                    .map(|path| api::opaque_route::RouteBackend {
                        backend: Some(balancer(path)),
                        ..Default::default()
                    })
                    .collect(),
            },
        )),
    };
    let routes = vec![api::HttpRoute {
        metadata: Some(metadata()),
        hosts: Vec::new(),
        rules: vec![api::http_route::Rule {
            backends: Some(http(paths)),
            ..Default::default()
        }],
    }];
    let detect = api::proxy_protocol::Detect {
        timeout: Some(seconds(10)),
        opaque: Some(api::proxy_protocol::Opaque {
            routes: vec![api::OpaqueRoute {
                metadata: Some(metadata()),
                rules: vec![api::opaque_route::Rule {
                    backends: Some(opaque),
                    filters: Vec::new(),
                }],
            }],
        }),
        http1: Some(api::proxy_protocol::Http1 {
            routes: routes.clone(),
            failure_accrual: None,
        }),
        http2: Some(api::proxy_protocol::Http2 {
            routes,
            failure_accrual: None,
        }),
    };
    OutboundPolicy {
        metadata: Some(metadata()),
        protocol: Some(api::ProxyProtocol {
            kind: Some(api::proxy_protocol::Kind::Detect(detect)),
        }),
    }
}

pub(crate) fn metadata() -> meta::Metadata {
    meta::Metadata {
        kind: Some(meta::metadata::Kind::Default("default".to_owned())),
    }
}

pub(crate) fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

fn balancer(path: &str) -> api::Backend {
    api::Backend {
        metadata: Some(metadata()),
        queue: Some(api::Queue {
            capacity: 100,
            failfast_timeout: Some(seconds(3)),
        }),
        kind: Some(api::backend::Kind::Balancer(api::backend::BalanceP2c {
            discovery: Some(api::backend::EndpointDiscovery {
                kind: Some(api::backend::endpoint_discovery::Kind::Dst(
                    api::backend::endpoint_discovery::DestinationGet {
                        path: path.to_owned(),
                    },
                )),
            }),
            load: Some(api::backend::balance_p2c::Load::PeakEwma(
                api::backend::balance_p2c::PeakEwma {
                    default_rtt: Some(prost_types::Duration {
                        seconds: 0,
                        nanos: 30_000_000,
                    }),
                    decay: Some(seconds(10)),
                },
            )),
        })),
    }
}

// === endpoints ===

/// An endpoint outside the mesh.
pub(crate) fn plain(addr: SocketAddr) -> WeightedAddr {
    WeightedAddr {
        addr: Some(addr.into()),
        weight: 10_000,
        ..Default::default()
    }
}

/// A meshed pod whose proxy listens at `addr`.
pub(crate) fn meshed(addr: SocketAddr, id: &str) -> WeightedAddr {
    WeightedAddr {
        tls_identity: Some(TlsIdentity {
            server_name: None,
            strategy: Some(tls_identity::Strategy::DnsLikeIdentity(
                tls_identity::DnsLikeIdentity {
                    name: id.to_owned(),
                },
            )),
        }),
        protocol_hint: Some(dst::ProtocolHint {
            opaque_transport: Some(protocol_hint::OpaqueTransport {
                inbound_port: addr.port().into(),
            }),
            protocol: Some(protocol_hint::Protocol::H2(protocol_hint::H2 {})),
        }),
        ..plain(addr)
    }
}

/// The gateway of another cluster at `addr`.
pub(crate) fn gateway(addr: SocketAddr, id: &str, authority: &str) -> WeightedAddr {
    WeightedAddr {
        protocol_hint: Some(dst::ProtocolHint {
            opaque_transport: None,
            protocol: Some(protocol_hint::Protocol::H2(protocol_hint::H2 {})),
        }),
        authority_override: Some(dst::AuthorityOverride {
            authority_override: authority.to_owned(),
        }),
        ..meshed(addr, id)
    }
}

// === peers ===

type Handler =
    Arc<dyn Fn(Request<Incoming>) -> BoxFuture<'static, Response<Full<Bytes>>> + Send + Sync>;

/// What a peer saw of a request.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) header: Option<Header>,
    pub(crate) client: Option<Id>,
    pub(crate) uri: String,
    pub(crate) version: ::http::Version,
    pub(crate) headers: ::http::HeaderMap,
}

/// A server: a meshed peer with a store, a plain application without.
pub(crate) struct Peer {
    pub(crate) addr: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    headers: Arc<Mutex<Vec<Option<Header>>>>,
    state: Arc<PeerState>,
    task: Option<JoinHandle<()>>,
}

struct PeerState {
    store: Option<Store>,
    name: &'static str,
    /// Requests wait while this is set.
    held: watch::Sender<bool>,
    /// How many requests have arrived.
    arrived: watch::Sender<usize>,
    delay: Mutex<Duration>,
    respond: Mutex<Option<Handler>>,
    /// Stops reading and writing without closing, as a stopped process does.
    frozen: watch::Sender<bool>,
}

impl Peer {
    pub(crate) async fn start(store: Option<Store>, name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut peer = Self {
            addr: listener.local_addr().unwrap(),
            seen: Arc::default(),
            headers: Arc::default(),
            state: Arc::new(PeerState {
                store,
                name,
                held: watch::Sender::new(false),
                arrived: watch::Sender::new(0),
                delay: Mutex::default(),
                respond: Mutex::default(),
                frozen: watch::Sender::new(false),
            }),
            task: None,
        };
        peer.serve(listener);
        peer
    }

    fn serve(&mut self, listener: TcpListener) {
        let (state, seen, headers) = (self.state.clone(), self.seen.clone(), self.headers.clone());
        self.task = Some(tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                connections.spawn(connection(
                    tcp,
                    state.clone(),
                    seen.clone(),
                    headers.clone(),
                ));
            }
        }));
    }

    /// Closes the listener and every connection, as SIGKILL does.
    pub(crate) async fn kill(&mut self) {
        let task = self.task.take().unwrap();
        task.abort();
        let _ = task.await;
    }

    /// Comes back at the same address.
    pub(crate) async fn restart(&mut self) {
        let listener = TcpListener::bind(self.addr).await.unwrap();
        self.serve(listener);
    }

    pub(crate) fn freeze(&self, frozen: bool) {
        self.state.frozen.send_replace(frozen);
    }

    pub(crate) fn hold(&self, held: bool) {
        self.state.held.send_replace(held);
    }

    pub(crate) fn set_delay(&self, delay: Duration) {
        *self.state.delay.lock() = delay;
    }

    pub(crate) fn respond(
        &self,
        handler: impl Fn(Request<Incoming>) -> Response<Full<Bytes>> + Send + Sync + 'static,
    ) {
        self.respond_late(move |request| std::future::ready(handler(request)));
    }

    /// The same once a future has its output.
    pub(crate) fn respond_late<F>(
        &self,
        handler: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |request| Box::pin(handler(request)));
        *self.state.respond.lock() = Some(handler);
    }

    /// Waits until `n` requests have arrived.
    pub(crate) async fn arrived(&self, n: usize) {
        let mut arrived = self.state.arrived.subscribe();
        arrived.wait_for(|count| *count >= n).await.unwrap();
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }

    /// Headers of every connection, in order.
    pub(crate) fn headers(&self) -> Vec<Option<Header>> {
        self.headers.lock().clone()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn connection(
    tcp: tokio::net::TcpStream,
    state: Arc<PeerState>,
    seen: Arc<Mutex<Vec<Seen>>>,
    headers: Arc<Mutex<Vec<Option<Header>>>>,
) {
    let mut frozen = state.frozen.subscribe();
    let _ = frozen.wait_for(|frozen| !frozen).await;
    let (io, header, client) = match &state.store {
        None => (crate::io::boxed(tcp), None, None),
        Some(store) => {
            let accept = mesh_tls::Accept {
                transport_header: true,
                timeout: Duration::from_secs(5),
            };
            let Ok(mut accepted) = mesh_tls::accept(store, accept, tcp).await else {
                return;
            };
            let header = match accepted.transport_header {
                true => Some(transport_header::read(&mut accepted.stream).await.unwrap()),
                false => None,
            };
            let client = accepted.peer.map(|peer| peer.id().clone());
            (crate::io::boxed(accepted.stream), header, client)
        }
    };
    headers.lock().push(header.clone());
    let opaque = header.as_ref().is_some_and(|h| h.session.is_none());
    if opaque {
        return echo(io, state.name).await;
    }
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let (state, seen) = (state.clone(), seen.clone());
        seen.lock().push(Seen {
            header: header.clone(),
            client: client.clone(),
            uri: request.uri().to_string(),
            version: request.version(),
            headers: request.headers().clone(),
        });
        state.arrived.send_modify(|n| *n += 1);
        async move {
            let _ = state.held.subscribe().wait_for(|held| !held).await;
            let delay = *state.delay.lock();
            tokio::time::sleep(delay).await;
            let respond = state.respond.lock().clone();
            let response = match respond {
                Some(respond) => respond(request).await,
                None => Response::new(Full::from(state.name)),
            };
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    // A tunnel of bytes, so that the peer can be frozen mid-connection.
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let serve = serve_http(theirs, service);
    let pump = pump(io, ours, frozen);
    tokio::select! {
        () = serve => {}
        () = pump => {}
    }
}

/// HTTP/1 or HTTP/2, whichever the client speaks.
async fn serve_http<S>(io: tokio::io::DuplexStream, service: S)
where
    S: hyper::service::Service<
            Request<Incoming>,
            Response = Response<Full<Bytes>>,
            Error = std::convert::Infallible,
        > + Send
        + 'static,
    S::Future: Send + 'static,
{
    let Ok((detected, io)) = crate::detect::detect(io, HOUR).await else {
        return;
    };
    let io = TokioIo::new(io);
    let _ = match detected {
        crate::detect::Detected::Http(crate::http::Version::H2) => {
            hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(io, service)
                .await
        }
        _ => {
            hyper::server::conn::http1::Builder::new()
                .serve_connection(io, service)
                .await
        }
    };
}

async fn pump(io: crate::io::BoxIo, inner: tokio::io::DuplexStream, frozen: watch::Receiver<bool>) {
    let (mut read, mut write) = tokio::io::split(io);
    let (mut inner_read, mut inner_write) = tokio::io::split(inner);
    let inbound = copy_unless_frozen(&mut read, &mut inner_write, frozen.clone());
    let outbound = copy_unless_frozen(&mut inner_read, &mut write, frozen);
    tokio::join!(inbound, outbound);
}

async fn copy_unless_frozen(
    from: &mut (impl tokio::io::AsyncRead + Unpin),
    to: &mut (impl tokio::io::AsyncWrite + Unpin),
    mut frozen: watch::Receiver<bool>,
) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut buffer = [0; 4096];
    while let Ok(n) = from.read(&mut buffer).await {
        let _ = frozen.wait_for(|frozen| !frozen).await;
        if n == 0 || to.write_all(&buffer[..n]).await.is_err() || to.flush().await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}

/// Answers bytes with the peer's name and the same bytes, after the client has finished.
async fn echo(mut io: crate::io::BoxIo, name: &str) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut bytes = Vec::new();
    let _ = io.read_to_end(&mut bytes).await;
    let _ = io.write_all(name.as_bytes()).await;
    let _ = io.write_all(b":").await;
    let _ = io.write_all(&bytes).await;
    let _ = io.shutdown().await;
}

/// An address where nobody listens.
pub(crate) async fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}
