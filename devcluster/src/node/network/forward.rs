//! Load balancers: for each Service of type LoadBalancer with an address, a TCP listener there
//! that forwards to the ready endpoints, one after the other.
//!
//! As with a real one nobody answers where there is no ready endpoint: the listener is closed and
//! connecting is refused. If every endpoint refuses, the client is reset.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use socket2::SockRef;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Key, View};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const BIND_RETRY: Duration = Duration::from_millis(500);

/// Where to listen, and what for.
pub(super) type Desired = BTreeMap<SocketAddr, BTreeSet<SocketAddr>>;

/// What the cluster asks for. Pure.
///
/// `is_ours`: whether load balancers of this node may have an address.
pub(super) fn desired(view: &View, is_ours: impl Fn(IpAddr) -> bool) -> Desired {
    let mut desired = Desired::new();
    for (key, service) in &view.services {
        for address in addresses(service).filter(|ip| is_ours(*ip)) {
            for port in service
                .spec
                .iter()
                .filter_map(|s| s.ports.as_ref())
                .flatten()
            {
                if !matches!(port.protocol.as_deref(), None | Some("TCP")) {
                    continue;
                }
                if let Ok(number) = u16::try_from(port.port) {
                    desired.insert(SocketAddr::new(address, number), endpoints(view, key, port));
                }
            }
        }
    }
    desired
}

fn addresses(service: &Service) -> impl Iterator<Item = IpAddr> {
    let is_balancer =
        service.spec.as_ref().and_then(|s| s.type_.as_deref()) == Some("LoadBalancer");
    let ingress = service
        .status
        .iter()
        .filter_map(|s| s.load_balancer.as_ref());
    ingress
        .filter_map(|l| l.ingress.as_ref())
        .flatten()
        .filter_map(|i| i.ip.as_deref()?.parse().ok())
        .filter(move |_: &IpAddr| is_balancer)
}

/// Who serves a port of a Service.
pub(super) fn endpoints(view: &View, key: &Key, port: &ServicePort) -> BTreeSet<SocketAddr> {
    let name = port.name.as_deref().unwrap_or_default();
    let number = |slice: &EndpointSlice| {
        let mut ports = slice.ports.iter().flatten();
        let port = ports.find(|p| p.name.as_deref().unwrap_or_default() == name)?;
        u16::try_from(port.port?).ok()
    };
    view.endpoints_of(key, false)
        .filter_map(|(slice, _, ip)| Some(SocketAddr::new(ip, number(slice)?)))
        .collect()
}

/// The listeners there are.
#[derive(Debug, Default)]
pub(super) struct Forwarders(HashMap<SocketAddr, Forwarder>);

#[derive(Debug)]
struct Forwarder {
    endpoints: watch::Sender<Vec<SocketAddr>>,
    task: JoinHandle<()>,
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Forwarders {
    /// Opens, updates and closes listeners. Connections under way are left alone.
    pub(super) fn follow(&mut self, desired: Desired) {
        self.0.retain(|address, _| desired.contains_key(address));
        for (address, endpoints) in desired {
            let endpoints: Vec<SocketAddr> = endpoints.into_iter().collect();
            match self.0.get(&address) {
                Some(forwarder) => {
                    forwarder.endpoints.send_if_modified(|current| {
                        let changed = *current != endpoints;
                        *current = endpoints;
                        changed
                    });
                }
                None => {
                    let (endpoints, rx) = watch::channel(endpoints);
                    let task = tokio::spawn(listen(address, rx));
                    self.0.insert(address, Forwarder { endpoints, task });
                }
            }
        }
    }
}

/// Listens while there is somebody to forward to.
async fn listen(address: SocketAddr, mut endpoints: watch::Receiver<Vec<SocketAddr>>) {
    let turn = Arc::new(AtomicUsize::new(0));
    loop {
        if endpoints.wait_for(|list| !list.is_empty()).await.is_err() {
            return;
        }
        let listener = match mesh_daemon::net::bind(address).await {
            Ok(listener) => listener,
            Err(error) => {
                tracing::warn!(%address, %error, "cannot listen as a load balancer, will retry");
                tokio::time::sleep(BIND_RETRY).await;
                continue;
            }
        };
        tracing::info!(%address, "load balancer open");
        let mut changes = endpoints.clone();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((client, _)) => {
                        tokio::spawn(forward(client, endpoints.clone(), turn.clone()));
                    }
                    Err(error) => {
                        tracing::warn!(%address, %error, "cannot accept, will retry");
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                },
                gone = emptied(&mut changes) => {
                    if !gone {
                        return;
                    }
                    break;
                }
            }
        }
        tracing::info!(%address, "load balancer closed, no endpoint is ready");
    }
}

/// True when no endpoint is left, false when the service is.
async fn emptied(endpoints: &mut watch::Receiver<Vec<SocketAddr>>) -> bool {
    endpoints.wait_for(Vec::is_empty).await.is_ok()
}

async fn forward(
    mut client: TcpStream,
    endpoints: watch::Receiver<Vec<SocketAddr>>,
    turn: Arc<AtomicUsize>,
) {
    let Ok(balancer) = client.local_addr() else {
        return; // the client is gone
    };
    let list = endpoints.borrow().clone();
    let first = turn.fetch_add(1, Ordering::Relaxed);
    for i in 0..list.len() {
        let endpoint = list[(first + i) % list.len()];
        let connecting = connect(balancer.ip(), endpoint);
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await;
        match connected {
            Ok(Ok(mut server)) => {
                let _latency_only = (client.set_nodelay(true), server.set_nodelay(true));
                let _ended_by_a_peer = copy_bidirectional(&mut client, &mut server).await;
                return;
            }
            Ok(Err(error)) => tracing::debug!(%endpoint, %error, "trying the next endpoint"),
            Err(_) => tracing::debug!(%endpoint, "silent, trying the next endpoint"),
        }
    }
    // A reset tells the client sooner and clearer than an orderly end.
    let _orderly_then = SockRef::from(&client).set_linger(Some(Duration::ZERO));
}

/// From the balancer's own address, as from a node that hides its clients. From 127.0.0.1 it would
/// be the pod itself, to which a sidecar allows everything.
async fn connect(balancer: IpAddr, endpoint: SocketAddr) -> io::Result<TcpStream> {
    let socket = match endpoint {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if balancer.is_ipv4() == endpoint.is_ipv4() {
        socket.bind(SocketAddr::new(balancer, 0))?;
    }
    socket.connect(endpoint).await
}

#[cfg(test)]
mod tests;
