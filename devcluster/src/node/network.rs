//! How pods are connected: the kinds of network, and what every kind does for Services, kept as
//! the cluster's Services and EndpointSlices say.
//!
//! `loopback`: names in a hosts file, load balancers as listeners; cluster IPs stay virtual, only
//! sidecars interpret them. `netns`: names by DNS, cluster IPs translated by the kernel.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use kube::runtime::watcher::Event;
use kube::{Api, Client, Resource, ResourceExt as _};
use mesh_contract::env::{HOSTS_FILE, LOOPBACK_POD_IP};
use mesh_contract::labels::SERVICE_NAME;
use mesh_daemon::readiness::Guard;
use tokio::net::TcpStream;
use tokio::time::Instant;

use self::netns::{Netns, ToolError};
use super::follow::follow;
use super::process::Process;
use super::room::{self, Room};

mod forward;
mod hosts;
pub(super) mod netns;

/// Changes arrive in bursts; this much later one answer is made of them all.
const SETTLE: Duration = Duration::from_millis(10);

/// How long a port of a pod may take to answer.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);

/// (namespace, name).
type Key = (String, String);

/// What is known of the cluster's Services.
#[derive(Debug, Default)]
struct View {
    services: HashMap<Key, Service>,
    slices: HashMap<Key, EndpointSlice>,
}

impl View {
    /// The slices of a Service.
    fn slices_of<'a>(&'a self, service: &'a Key) -> impl Iterator<Item = &'a EndpointSlice> {
        let of = |s: &EndpointSlice| {
            s.metadata.labels.as_ref().and_then(|l| l.get(SERVICE_NAME)) == Some(&service.1)
        };
        self.slices
            .iter()
            .filter(move |((ns, _), s)| ns == &service.0 && of(s))
            .map(|(_, s)| s)
    }

    /// The ready endpoints of a Service (with `unready`, all of them), once for each address.
    fn endpoints_of<'a>(
        &'a self,
        service: &'a Key,
        unready: bool,
    ) -> impl Iterator<Item = (&'a EndpointSlice, &'a Endpoint, IpAddr)> {
        let of_slice = |slice: &'a EndpointSlice| slice.endpoints.iter().map(move |e| (slice, e));
        let is_ready =
            |endpoint: &Endpoint| endpoint.conditions.as_ref().and_then(|c| c.ready) != Some(false);
        self.slices_of(service)
            .flat_map(of_slice)
            .filter(move |(_, endpoint)| unready || is_ready(endpoint))
            .flat_map(|(slice, endpoint)| {
                let addresses = endpoint.addresses.iter().filter_map(|a| a.parse().ok());
                addresses.map(move |address| (slice, endpoint, address))
            })
    }
}

/// How the pods of this node are connected. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) enum Network {
    Loopback(Arc<Loopback>),
    Netns(Arc<Netns>),
}

/// The `loopback` network: a pod is an address of the machine.
#[derive(Debug)]
pub(super) struct Loopback {
    pub(super) hosts_file: PathBuf,
    pub(super) cluster_domain: String,
}

impl Network {
    /// Gives a pod its network before its first container starts; again does no harm.
    pub(super) async fn attach(&self, pod: Ipv4Addr) -> Result<(), ToolError> {
        let Self::Netns(netns) = self else {
            return Ok(());
        };
        let netns = netns.clone();
        let made = tokio::task::spawn_blocking(move || netns.attach(pod));
        made.await.unwrap_or_else(|panic| {
            let (program, source) = ("ip", std::io::Error::other(panic));
            Err(ToolError::Run { program, source })
        })
    }

    /// Takes it back when nothing of the pod is left, and its volumes in memory with it.
    pub(super) async fn detach(&self, uid: &str, pod: Option<Ipv4Addr>) {
        if let Self::Netns(netns) = self {
            let (netns, uid) = (netns.clone(), uid.to_owned());
            let detach = move || {
                netns.forget_memory(&uid);
                if let Some(pod) = pod {
                    netns.detach(pod);
                }
            };
            let _logged = tokio::task::spawn_blocking(detach).await;
        }
    }

    /// The rules of the network every process of a pod is told; nothing overrides them.
    pub(super) fn variables(&self, pod: Ipv4Addr) -> Vec<(String, String)> {
        match self {
            Self::Loopback(loopback) => vec![
                (LOOPBACK_POD_IP.to_owned(), pod.to_string()),
                (
                    HOSTS_FILE.to_owned(),
                    loopback.hosts_file.display().to_string(),
                ),
            ],
            Self::Netns(_) => Vec::new(),
        }
    }

    /// Where a further process of a live one's container runs.
    pub(super) fn beside(&self, process: &Process) -> Room {
        match self {
            Self::Loopback(_) => Room::Machine,
            Self::Netns(_) => Room::Of {
                pid: process.pid,
                ticks: process.ticks,
            },
        }
    }

    /// Connects to a port of a pod, from inside it where there is an inside.
    pub(super) async fn dial(&self, pod: Ipv4Addr, port: u16) -> std::io::Result<TcpStream> {
        let Self::Netns(netns) = self else {
            return TcpStream::connect((pod, port)).await;
        };
        let Some(namespace) = netns.namespace(pod) else {
            return TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
        };
        let connected = tokio::task::spawn_blocking(move || {
            room::in_network(&namespace, || {
                let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
                std::net::TcpStream::connect_timeout(&at, DIAL_TIMEOUT)
            })
        });
        let stream = connected.await.map_err(std::io::Error::other)??;
        stream.set_nonblocking(true)?;
        TcpStream::from_std(stream)
    }

    /// Whether this node listens as a load balancer at the address.
    fn is_balancer(&self, address: IpAddr) -> bool {
        match self {
            Self::Loopback(_) => address.is_loopback(),
            Self::Netns(netns) => netns.is_balancer(address),
        }
    }

    fn apply(&self, view: &View, balancers: &forward::Desired) {
        match self {
            Self::Loopback(loopback) => loopback.write(view),
            Self::Netns(netns) => {
                let v4 = |(at, to): (&SocketAddr, &BTreeSet<SocketAddr>)| match at {
                    SocketAddr::V4(at) if !to.is_empty() => Some(*at),
                    _ => None,
                };
                let at: BTreeSet<SocketAddrV4> = balancers.iter().filter_map(v4).collect();
                netns.apply(view, &at);
            }
        }
    }
}

/// Keeps names, cluster IPs and load balancers up to date for ever.
pub(super) struct Follower {
    pub(super) client: Client,
    pub(super) network: Network,
}

impl Follower {
    /// `guard` is dropped when both kinds were listed and written down.
    pub(super) async fn run(self, guard: Guard) {
        let services = follow(Api::<Service>::all(self.client.clone()), "services");
        let slices = follow(
            Api::<EndpointSlice>::all(self.client.clone()),
            "endpoint slices",
        );
        let (mut services, mut slices) = (std::pin::pin!(services), std::pin::pin!(slices));
        let mut view = View::default();
        let (mut services_listed, mut slices_listed) = (Listing::default(), Listing::default());
        let mut guard = Some(guard);
        let mut forwarders = forward::Forwarders::default();
        let mut due: Option<Instant> = None;
        loop {
            let settled = async {
                match due {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = next(&mut services, &mut view.services, &mut services_listed) => {}
                () = next(&mut slices, &mut view.slices, &mut slices_listed) => {}
                () = settled => {
                    due = None;
                    let balancers = forward::desired(&view, |ip| self.network.is_balancer(ip));
                    self.network.apply(&view, &balancers);
                    forwarders.follow(balancers);
                    guard.take();
                    continue;
                }
            }
            // Half a view would empty names and load balancers that are fine.
            if services_listed.complete && slices_listed.complete {
                due = due.or_else(|| Some(Instant::now() + SETTLE));
            }
        }
    }
}

impl Loopback {
    fn write(&self, view: &View) {
        let text = hosts::render(view, &self.cluster_domain);
        if std::fs::read_to_string(&self.hosts_file).is_ok_and(|held| held == text) {
            return;
        }
        if let Err(error) = super::disk::write_atomic(&self.hosts_file, text.as_bytes(), 0o600) {
            tracing::error!(file = %self.hosts_file.display(), %error, "cannot write the hosts file; names in pods are out of date");
        }
    }
}

/// A list in progress, so that a new one replaces the old view at once and not piece by piece.
#[derive(Debug, Default)]
struct Listing {
    seen: Vec<Key>,
    complete: bool,
}

/// Takes the next change into `known`.
async fn next<K>(
    stream: &mut (impl Stream<Item = Event<K>> + Unpin),
    known: &mut HashMap<Key, K>,
    listing: &mut Listing,
) where
    K: Resource,
{
    let key = |object: &K| (object.namespace().unwrap_or_default(), object.name_any());
    match stream.next().await {
        Some(Event::Init) => listing.seen.clear(),
        Some(Event::InitApply(object)) => {
            listing.seen.push(key(&object));
            known.insert(key(&object), object);
        }
        Some(Event::InitDone) => {
            known.retain(|k, _| listing.seen.contains(k));
            listing.complete = true;
        }
        Some(Event::Apply(object)) => {
            known.insert(key(&object), object);
        }
        Some(Event::Delete(object)) => {
            known.remove(&key(&object));
        }
        None => std::future::pending().await,
    }
}
