//! The scripted control plane: certificates for everybody, and answers as they were set. Whatever
//! was not set is `NotFound`, for which sidecars have defaults.

use std::{collections::HashMap, hash::Hash, io, net::SocketAddr, sync::Arc};

use futures::{StreamExt, stream::BoxStream};
use linkerd2_proxy_api::{
    destination::{
        AddrSet, DestinationProfile, GetDestination, NoEndpoints, Update, WeightedAddr,
        WeightedAddrSet,
        destination_server::{Destination, DestinationServer},
        update,
    },
    identity::identity_server::IdentityServer,
    inbound::{
        PortSpec, Server,
        inbound_server_policies_server::{InboundServerPolicies, InboundServerPoliciesServer},
    },
    outbound::{
        OutboundPolicy, TrafficSpec,
        outbound_policies_server::{OutboundPolicies, OutboundPoliciesServer},
        traffic_spec,
    },
};
use mesh_tls::{
    control::Services,
    testing::{Ca, Issuer},
};
use parking_lot::Mutex;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tokio_stream::wrappers::{TcpListenerStream, WatchStream};
use tonic::{Request, Response, Status};

/// A control plane on a loopback address, in the clear. Ends when dropped.
pub struct ControlPlane {
    /// Where it answers everything.
    pub addr: SocketAddr,
    /// What its sidecars trust, PEM.
    pub anchors: String,
    /// Who certifies them.
    pub issuer: Issuer,
    script: Arc<Script>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Script {
    outbound: Table<String, OutboundPolicy>,
    inbound: Table<u16, Server>,
    endpoints: Table<String, Vec<WeightedAddr>>,
}

/// Answers that can be changed at any time.
struct Table<K, V>(Mutex<HashMap<K, watch::Sender<V>>>);

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, V: Clone + Send + Sync + 'static> Table<K, V> {
    fn set(&self, key: K, value: V) {
        let mut all = self.0.lock();
        match all.get(&key) {
            Some(sender) => drop(sender.send_replace(value)),
            None => drop(all.insert(key, watch::Sender::new(value))),
        }
    }

    fn follow(&self, key: &K) -> Result<WatchStream<V>, Status> {
        let all = self.0.lock();
        let sender = all.get(key).ok_or_else(|| Status::not_found("not set"))?;
        Ok(WatchStream::new(sender.subscribe()))
    }
}

impl ControlPlane {
    /// Starts on a free port of 127.0.0.1.
    pub async fn start() -> io::Result<Self> {
        let ca = Ca::new("root");
        let issuer = ca.issuer("issuer");
        let script = Arc::new(Script::default());
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let services = Services::new()
            .add(IdentityServer::new(issuer.clone()))
            .add(DestinationServer::from_arc(script.clone()))
            .add(OutboundPoliciesServer::from_arc(script.clone()))
            .add(InboundServerPoliciesServer::from_arc(script.clone()));
        let server = tonic::transport::Server::builder()
            .serve_with_incoming(services, TcpListenerStream::new(listener));
        let task = tokio::spawn(async move {
            if let Err(error) = server.await {
                tracing::error!(%error, "the scripted control plane ended");
            }
        });
        Ok(Self {
            addr,
            anchors: ca.0.cert_pem(),
            issuer,
            script,
            task,
        })
    }

    /// What outbound halves are told about `target`, an address (`ip:port`) or a name (`name:port`).
    pub fn outbound(&self, target: impl ToString, policy: OutboundPolicy) {
        self.script.outbound.set(target.to_string(), policy);
    }

    /// What inbound halves are told about `port`.
    pub fn inbound(&self, port: u16, server: Server) {
        self.script.inbound.set(port, server);
    }

    /// The endpoints of `path` (`name:port`).
    pub fn endpoints(&self, path: &str, endpoints: Vec<WeightedAddr>) {
        self.script.endpoints.set(path.to_owned(), endpoints);
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Answers<T> = BoxStream<'static, Result<T, Status>>;

#[tonic::async_trait]
impl OutboundPolicies for Script {
    async fn get(&self, _: Request<TrafficSpec>) -> Result<Response<OutboundPolicy>, Status> {
        Err(Status::unimplemented("only watched"))
    }

    type WatchStream = Answers<OutboundPolicy>;

    async fn watch(
        &self,
        request: Request<TrafficSpec>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let target = match request.into_inner().target {
            Some(traffic_spec::Target::Addr(addr)) => SocketAddr::try_from(addr)
                .map_err(|error| Status::invalid_argument(error.to_string()))?
                .to_string(),
            Some(traffic_spec::Target::Authority(name)) => name,
            None => return Err(Status::invalid_argument("no target")),
        };
        Ok(Response::new(
            self.outbound.follow(&target)?.map(Ok).boxed(),
        ))
    }
}

#[tonic::async_trait]
impl InboundServerPolicies for Script {
    async fn get_port(&self, _: Request<PortSpec>) -> Result<Response<Server>, Status> {
        Err(Status::unimplemented("only watched"))
    }

    type WatchPortStream = Answers<Server>;

    async fn watch_port(
        &self,
        request: Request<PortSpec>,
    ) -> Result<Response<Self::WatchPortStream>, Status> {
        let port = u16::try_from(request.into_inner().port);
        let port = port.map_err(|_| Status::invalid_argument("no port"))?;
        Ok(Response::new(self.inbound.follow(&port)?.map(Ok).boxed()))
    }
}

#[tonic::async_trait]
impl Destination for Script {
    type GetStream = Answers<Update>;

    async fn get(
        &self,
        request: Request<GetDestination>,
    ) -> Result<Response<Self::GetStream>, Status> {
        let mut before: Vec<WeightedAddr> = Vec::new();
        let updates = self.endpoints.follow(&request.into_inner().path)?;
        let updates = updates.flat_map(move |now| {
            let changes = changes(&std::mem::replace(&mut before, now.clone()), now);
            futures::stream::iter(changes)
        });
        let update = |update| {
            Ok(Update {
                update: Some(update),
            })
        };
        Ok(Response::new(updates.map(update).boxed()))
    }

    type GetProfileStream = Answers<DestinationProfile>;

    async fn get_profile(
        &self,
        _: Request<GetDestination>,
    ) -> Result<Response<Self::GetProfileStream>, Status> {
        Err(Status::unimplemented("no profiles"))
    }
}

/// What to say to somebody who knew `before`.
fn changes(before: &[WeightedAddr], now: Vec<WeightedAddr>) -> Vec<update::Update> {
    let gone = before
        .iter()
        .filter(|old| now.iter().all(|new| new.addr != old.addr))
        .filter_map(|old| old.addr);
    let gone: Vec<_> = gone.collect();
    if now.is_empty() {
        return vec![update::Update::NoEndpoints(NoEndpoints { exists: true })];
    }
    let mut updates = vec![update::Update::Add(WeightedAddrSet {
        addrs: now,
        metric_labels: [("namespace".to_owned(), "default".to_owned())].into(),
    })];
    if !gone.is_empty() {
        updates.push(update::Update::Remove(AddrSet { addrs: gone }));
    }
    updates
}
