//! An endpoint in use: its connections, its load, its health, its metrics.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{HeaderValue, Request, Response, Version, header};
use mesh_contract::headers::{DST_CANONICAL, REQUIRE_ID};
use parking_lot::Mutex;
use tokio::{sync::watch, time::Instant};

use super::{
    Hint, Metadata,
    connect::Connector,
    judge::{self, Verdict},
    plan::{Purpose, plan},
};
use crate::{
    Error, Runtime,
    config::{Backoff, Http2},
    http::{
        Body,
        client::{Client, Dial, Failed, LinkState, OnChange, Reuse, Settings, Stage},
        headers::is_grpc,
        orig_proto,
        upgrade::is_upgrade,
    },
    io::{BoxIo, boxed},
    metrics::{HttpMetrics, Metrics, OutboundLabels, TlsLabels, TransportMetrics},
    outbound::balance::{
        health::{Health, Usable},
        load::{Load, Pending},
        ramp,
    },
};

/// What every endpoint is made with. Cloned freely.
#[derive(Clone)]
pub struct Kit {
    /// Connects.
    pub connector: Connector,
    /// Counts.
    pub metrics: Metrics,
    /// HTTP/2 settings of endpoints that bring none.
    pub h2: Http2,
    /// Idle HTTP/1 connections end after this long.
    pub h1_idle_timeout: Duration,
    /// Most idle HTTP/1 connections per endpoint.
    pub h1_max_idle: usize,
    /// Pauses between attempts to connect.
    pub backoff: Backoff,
}

/// Tells endpoints apart, also those that come and go at one address.
pub type EndpointId = u64;

/// An endpoint in use.
pub struct Endpoint {
    /// Unique in this process.
    pub id: EndpointId,
    /// Its address, as discovery knows it.
    pub addr: SocketAddr,
    /// What discovery says of it.
    pub metadata: Metadata,
    local: bool,
    connector: Connector,
    client: Client,
    load: Arc<Load>,
    health: Arc<Mutex<Health>>,
    /// Whether the policy judges what the application answers.
    judged: bool,
    weight: AtomicU32,
    /// Whether discovery lists it no more.
    withdrawn: watch::Sender<bool>,
    http: HttpMetrics,
    tcp: TransportMetrics,
}

/// What a balancer may do with an endpoint now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    /// Use it.
    Ready,
    /// Use it for one request that may fail.
    Probe,
    /// Its connection is being made; wait a moment.
    Pending,
    /// It answers, but badly; only if there are too few others.
    Ejected,
    /// Do not.
    Unavailable,
}

/// A connection lost a moment ago is usually back in another moment: waiting for it beats
/// shifting traffic. Beyond this, traffic goes elsewhere.
const RECONNECT_PATIENCE: Duration = Duration::from_millis(100);
/// A dead gateway or peer must be noticed faster than people notice: one of each, worst case.
const PING_INTERVAL: Duration = Duration::from_secs(1);
const PING_TIMEOUT: Duration = Duration::from_secs(1);

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl Kit {
    /// As configured.
    pub fn new(runtime: &Runtime) -> Self {
        let outbound = &runtime.config.outbound;
        Self {
            connector: Connector::new(runtime),
            metrics: runtime.metrics.clone(),
            h2: outbound.h2_client,
            h1_idle_timeout: outbound.http1_pool_idle_timeout,
            h1_max_idle: outbound.max_idle_per_endpoint,
            backoff: outbound.backoff,
        }
    }

    fn settings(&self, metadata: &Metadata) -> Settings {
        let mut h2 = self.h2;
        if let Some(windows) = metadata.windows {
            h2.adaptive = windows.adaptive;
            if windows.stream > 0 {
                h2.stream_window = windows.stream;
            }
            if windows.connection > 0 {
                h2.connection_window = windows.connection;
            }
        }
        let wanted = metadata.keep_alive;
        Settings {
            h2,
            ping_interval: wanted.map_or(PING_INTERVAL, |k| k.interval.min(PING_INTERVAL)),
            ping_timeout: wanted.map_or(PING_TIMEOUT, |k| k.timeout.min(PING_TIMEOUT)),
            // A gateway stands for a whole cluster: its loss should be known before the request
            // that needs it. Pinging every idle pod every second would cost more than it tells.
            ping_while_idle: metadata.is_gateway(),
            h1_idle_timeout: self.h1_idle_timeout,
            h1_max_idle: self.h1_max_idle,
            backoff: self.backoff,
        }
    }
}

impl Endpoint {
    /// Connects to nothing yet. `authority` is for metrics; `slow_start` if others already share
    /// the load it will join.
    pub fn new(
        kit: &Kit,
        authority: Arc<str>,
        (addr, metadata): (SocketAddr, Metadata),
        load: Load,
        health: Health,
        on_change: OnChange,
    ) -> Self {
        let local = kit.connector.is_local(addr.ip());
        let labels = labels(authority, addr, &metadata, local);
        let tcp = kit.metrics.outbound_transport(&labels);
        let dial: Dial = {
            let (connector, metadata) = (kit.connector.clone(), metadata.clone());
            let tcp = tcp.clone();
            Arc::new(move |session| {
                let connector = connector.clone();
                let plan = plan(addr, &metadata, local, Purpose::Http(session));
                let tcp = tcp.clone();
                Box::pin(async move {
                    let io = connector.connect(&plan).await?;
                    Ok(boxed(tcp.open(io)))
                })
            })
        };
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            addr,
            client: Client::new(dial, kit.settings(&metadata), on_change),
            http: kit.metrics.outbound_http(&labels),
            tcp,
            local,
            connector: kit.connector.clone(),
            load: Arc::new(load),
            judged: health.judges_answers(),
            health: Arc::new(Mutex::new(health)),
            weight: AtomicU32::new(metadata.weight),
            withdrawn: watch::Sender::new(false),
            metadata,
        }
    }

    /// Keeps an HTTP/2 connection open if that is what requests will use.
    pub fn warm(&self) {
        if self.speaks_h2() {
            self.client.keep_connected();
        }
    }

    fn speaks_h2(&self) -> bool {
        self.metadata.hint == Hint::H2 && self.metadata.tls.is_some() && !self.local
    }

    /// What may be done with it now. `probe`: whether the request at hand may be the one that
    /// finds out if an ejected endpoint works again.
    pub fn availability(&self, now: Instant, probe: bool) -> Availability {
        // Where HTTP/2 is only used on demand, its connection says nothing about other uses.
        let link = match self.speaks_h2() {
            true => self.client.link(),
            false => LinkState::Idle,
        };
        match link {
            LinkState::Down => return Availability::Unavailable,
            LinkState::Connecting { since, first } => {
                return match first || now.saturating_duration_since(since) < RECONNECT_PATIENCE {
                    true => Availability::Pending,
                    false => Availability::Unavailable,
                };
            }
            LinkState::Idle | LinkState::Up { .. } => {}
        }
        match self.health.lock().usable(now) {
            Usable::Yes => Availability::Ready,
            Usable::Probe if probe => Availability::Probe,
            Usable::Probe | Usable::No => Availability::Ejected,
        }
    }

    /// Takes the right to probe; `false` if somebody else has.
    pub fn begin_probe(&self, now: Instant) -> bool {
        self.health.lock().begin_probe(now)
    }

    /// What one more request costs here; lower is better.
    pub fn cost(&self, now: Instant) -> f64 {
        let link = match self.client.link() {
            LinkState::Up {
                recovered: Some(since),
            } => ramp::share_after(now.saturating_duration_since(since)),
            _ => 1.0,
        };
        let health = self.health.lock().share(now);
        self.load.cost(now) / link.min(health)
    }

    /// Notes that a request or connection succeeded here.
    pub fn succeeded(&self, now: Instant) {
        self.health.lock().succeeded(now);
    }

    /// Notes that a request failed here in a way that is the endpoint's fault.
    pub fn failed(&self, now: Instant) {
        self.health.lock().failed(now, rand::random(), None);
    }

    /// Notes what the application answered. Without a policy about it, any answer is a success.
    pub fn answered(&self, now: Instant, response: &Response<Body>) {
        let verdict = match self.judged {
            true => Verdict::of(response),
            false => Verdict::Success,
        };
        if verdict != Verdict::Later {
            self.health.lock().judge(now, verdict);
        }
    }

    /// Its share of the traffic, compared with others'.
    pub fn weight(&self) -> u32 {
        self.weight.load(Ordering::Relaxed)
    }

    /// Takes over a changed share.
    pub fn set_weight(&self, weight: u32) {
        self.weight.store(weight, Ordering::Relaxed);
    }

    /// Notes that a connection was lost while a request waited for its response.
    pub fn lost(&self, now: Instant) {
        if !self.is_watched() {
            self.failed(now);
        }
    }

    /// Notes that no connection could be made.
    pub fn unreachable(&self, now: Instant) {
        if !self.is_watched() {
            self.health.lock().unreachable(now, rand::random());
        }
    }

    /// A kept connection is brought back by its own task, which knows better than any request
    /// whether the endpoint is reachable.
    fn is_watched(&self) -> bool {
        self.speaks_h2() && self.client.link() != LinkState::Idle
    }

    /// Notes that discovery lists it no more. What is in flight may end here.
    pub fn withdraw(&self) {
        self.withdrawn.send_replace(true);
    }

    /// Resolves once discovery lists it no more.
    pub async fn withdrawn(&self) {
        let mut withdrawn = self.withdrawn.subscribe();
        // The sender is ours: it outlives the wait.
        let _ = withdrawn.wait_for(|withdrawn| *withdrawn).await;
    }

    /// Counts a request or connection as pending until the guard is dropped.
    pub fn begin(&self) -> Pending {
        Load::begin(&self.load)
    }

    /// Opens a connection for bytes.
    pub async fn connect_opaque(&self) -> Result<BoxIo, Error> {
        let plan = plan(self.addr, &self.metadata, self.local, Purpose::Opaque);
        let io = self.connector.connect(&plan).await?;
        Ok(boxed(self.tcp.open(io)))
    }

    /// Refuses if the application asked for another identity than this endpoint's.
    pub fn check_identity(&self, required: Option<&HeaderValue>) -> Result<(), Error> {
        let Some(required) = required else {
            return Ok(());
        };
        let tls = self.metadata.tls.as_ref().filter(|_| !self.local);
        let found = tls.map(|tls| tls.id.as_str());
        if found.is_some_and(|id| id.as_bytes() == required.as_bytes()) {
            return Ok(());
        }
        Err(Error::IdentityRequired {
            required: String::from_utf8_lossy(required.as_bytes()).into_owned(),
            found: found.map(str::to_owned),
        })
    }

    /// Sends one request, in the version the endpoint understands best, and gives the response
    /// the version the request came in.
    pub async fn send(&self, mut request: Request<Body>) -> Result<Response<Body>, Box<Failed>> {
        let pending = self.begin();
        let started = Instant::now();
        request.headers_mut().remove(REQUIRE_ID);
        if !self.local {
            self.readdress(&mut request);
        }
        if request.version() == Version::HTTP_2 && request.uri().authority().is_none() {
            self.name(&mut request);
        }
        let exchange = self.http.request(is_grpc(&request));
        let sent = if is_upgrade(&request) {
            self.client.send_h1(request, Reuse::Single).await
        } else if request.version() == Version::HTTP_2 {
            self.client.send_h2(request).await
        } else if self.speaks_h2() && orig_proto::can_upgrade(&request) {
            self.send_upgraded(request).await
        } else {
            let reuse = reuse(&request);
            self.client.send_h1(request, reuse).await
        };
        match sent {
            Ok(response) => {
                let now = Instant::now();
                let verdict = Verdict::of(&response);
                match verdict {
                    Verdict::Failure(hint) => {
                        self.load.record_failure(now, started.elapsed(), hint);
                    }
                    Verdict::Success | Verdict::Later => self.load.record(now, started.elapsed()),
                }
                let response = exchange.response(pending.until_end_of(response));
                Ok(match self.judged && verdict == Verdict::Later {
                    true => judge::at_end(response, self.health.clone()),
                    false => response,
                })
            }
            Err(failed) => {
                if failed.stage != Stage::Connect {
                    self.load.record_peak(Instant::now(), started.elapsed());
                }
                exchange.error(&failed.error);
                Err(failed)
            }
        }
    }

    async fn send_upgraded(
        &self,
        mut request: Request<Body>,
    ) -> Result<Response<Body>, Box<Failed>> {
        let upgraded = orig_proto::upgrade_request(&mut request);
        match self.client.send_h2(request).await {
            Ok(mut response) => {
                orig_proto::restore_response(upgraded, &mut response);
                Ok(response)
            }
            Err(mut failed) => {
                if let Error::Http(error) = failed.error {
                    failed.error = Error::Downgraded(error);
                }
                Err(failed)
            }
        }
    }

    /// HTTP/2 allows a request without an authority, the library we send with does not.
    fn name(&self, request: &mut Request<Body>) {
        let own = || http::uri::Authority::try_from(self.addr.to_string()).ok();
        if let Some(authority) = orig_proto::host(request).or_else(own) {
            orig_proto::set_authority(request, authority);
        }
    }

    /// A gateway is asked for the name it knows, and for nothing else.
    fn readdress(&self, request: &mut Request<Body>) {
        let Some(authority) = &self.metadata.authority else {
            return;
        };
        let http1 = request.version() < Version::HTTP_2;
        let headers = request.headers_mut();
        headers.remove(DST_CANONICAL);
        headers.remove(header::HOST);
        if http1
            && request.uri().authority().is_none()
            && let Ok(host) = HeaderValue::from_str(authority.uri.as_str())
        {
            // Origin form: the name is in Host, from which an upgrade takes it.
            request.headers_mut().insert(header::HOST, host);
        } else {
            orig_proto::set_authority(request, authority.uri.clone());
        }
    }
}

fn reuse(request: &Request<Body>) -> Reuse {
    let anonymous =
        request.uri().authority().is_none() && !request.headers().contains_key(header::HOST);
    match request.version() == Version::HTTP_10 || anonymous {
        true => Reuse::Single,
        false => Reuse::Pooled,
    }
}

fn labels(
    authority: Arc<str>,
    addr: SocketAddr,
    metadata: &Metadata,
    local: bool,
) -> OutboundLabels {
    let tls = match &metadata.tls {
        _ if local => TlsLabels::None("loopback"),
        Some(tls) => TlsLabels::Server(tls.id.as_str().into()),
        None => TlsLabels::None("not_provided_by_service_discovery"),
    };
    OutboundLabels {
        authority,
        target: addr,
        tls,
        dst: metadata.labels.clone(),
    }
}
