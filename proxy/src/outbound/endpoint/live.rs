//! An endpoint in use: its connections, its load, its health, its metrics.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{HeaderValue, Request, Response};
use parking_lot::Mutex;
use tokio::{sync::watch, time::Instant};

use super::{
    Hint, Kit, Metadata,
    connect::Connector,
    judge::Verdict,
    plan::{Purpose, plan},
};
use crate::{
    Error,
    http::{
        Body,
        client::{Client, Dial, LinkState, OnChange},
    },
    io::{BoxIo, boxed},
    metrics::{Direction, HttpMetrics, OutboundLabels, TlsLabels, TransportMetrics},
    outbound::balance::{
        health::{Health, Usable},
        load::{Load, Pending},
        ramp,
    },
    witness::{Subject, Watched, Witnesses},
};

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
    pub(super) local: bool,
    connector: Connector,
    pub(super) client: Client,
    pub(super) load: Arc<Load>,
    pub(super) health: Arc<Mutex<Health>>,
    /// Whether the policy judges what the application answers.
    pub(super) judged: bool,
    weight: AtomicU32,
    /// Whether discovery lists it no more.
    withdrawn: watch::Sender<bool>,
    pub(super) http: HttpMetrics,
    witnesses: Witnesses,
    own: SocketAddr,
    tls: TlsLabels,
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
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

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
            let (tcp, turns) = (tcp.clone(), kit.turns.clone());
            Arc::new(move |session| {
                let (connector, turns) = (connector.clone(), turns.clone());
                let plan = plan(addr, &metadata, local, Purpose::Http(session));
                let tcp = tcp.clone();
                Box::pin(async move {
                    // Its time to connect begins when its turn has come.
                    let turn = turns.acquire().await;
                    let io = connector.connect(&plan).await?;
                    drop(turn);
                    Ok(boxed(tcp.open(io)))
                })
            })
        };
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            addr,
            client: Client::new(dial, kit.settings(&metadata), on_change),
            http: kit.metrics.outbound_http(&labels),
            witnesses: kit.witnesses.clone(),
            own: kit.own,
            tls: labels.tls,
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

    /// Whoever watches a request to it.
    pub(super) fn watch(&self, request: &mut Request<Body>) -> Option<Watched> {
        let subject = Subject {
            direction: Direction::Outbound,
            client: self.own,
            server: self.addr,
            tls: &self.tls,
            labels: &self.metadata.labels,
        };
        self.witnesses.begin(subject, request)
    }

    /// Keeps an HTTP/2 connection open if that is what requests will use.
    pub fn warm(&self) {
        if self.speaks_h2() {
            self.client.keep_connected();
        }
    }

    pub(super) fn speaks_h2(&self) -> bool {
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

    /// Notes that an attempt took longer than its route allows. That is a fault only where a policy
    /// judges: what is too long for one route may be usual here.
    pub fn too_slow(&self, now: Instant) {
        if self.judged {
            self.failed(now);
        }
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

    /// Whether discovery says that it is in our own zone.
    pub fn is_near(&self) -> bool {
        let mut labels = self.metadata.labels.iter();
        labels.any(|(key, value)| key == "zone_locality" && value == "local")
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
