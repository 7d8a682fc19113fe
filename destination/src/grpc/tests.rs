//! Messages as proxies get them: over mesh TLS, each validated.

mod directives;
mod export_gate;
mod messages;
mod odd_clusters;
mod streams;

use super::{Api, Metrics, valid};
use crate::sandbox::Sandbox;
use futures::StreamExt as _;
use linkerd2_proxy_api::{
    destination::{
        DestinationProfile, GetDestination, Update, destination_client::DestinationClient,
    },
    inbound::{PortSpec, Server, inbound_server_policies_client::InboundServerPoliciesClient},
    outbound::{
        OutboundPolicy, TrafficSpec, outbound_policies_client::OutboundPoliciesClient, traffic_spec,
    },
};
use mesh_daemon::Trigger;
use mesh_federation::{Directives, WatchDirectives, WatchDirectivesRequest};
use mesh_tls::{
    Id, Store,
    control::{self, ControlAddr},
    testing::{Ca, Issuer},
};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::net::{TcpListener, TcpStream};
use tonic::{Code, Status, Streaming, transport::Channel};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const SOON: Duration = Duration::from_secs(10);
const OWN: &str = "linkerd-destination.linkerd.serviceaccount.identity.linkerd.cluster.local";

/// A sandbox that is served.
struct Served {
    sandbox: Sandbox,
    issuer: Issuer,
    discovery: SocketAddr,
    policies: SocketAddr,
    stop: Trigger,
    ended: tokio::task::JoinSet<Result<(), tonic::transport::Error>>,
}

impl Served {
    async fn new(sandbox: Sandbox) -> Self {
        let issuer = Ca::new("root").issuer("issuer");
        let store = issuer.issue(&OWN.parse().unwrap(), DAY);
        let (stop, shutdown) = mesh_daemon::shutdown();
        let api = Api {
            index: sandbox.index.clone(),
            config: sandbox.config.clone(),
            shutdown: shutdown.clone(),
            metrics: Metrics::default(),
        };
        let mut ended = tokio::task::JoinSet::new();
        let mut listen = async |services| {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let (store, stop) = (store.clone(), shutdown.clone());
            ended.spawn(async move {
                control::serve(
                    listener,
                    store,
                    services,
                    async move { stop.requested().await },
                )
                .await
            });
            address
        };
        Self {
            discovery: listen(api.clone().discovery()).await,
            policies: listen(api.policies()).await,
            sandbox,
            issuer,
            stop,
            ended,
        }
    }

    /// Somebody with this identity.
    fn caller(&self, identity: &str) -> Proxy {
        let store = self.issuer.issue(&identity.parse().unwrap(), DAY);
        Proxy {
            discovery: channel(self.discovery, &store),
            policies: channel(self.policies, &store),
        }
    }

    /// A workload.
    fn workload(&self) -> Proxy {
        self.caller("client.default.serviceaccount.identity.linkerd.cluster.local")
    }

    /// This cluster's gateway.
    fn gateway(&self) -> Proxy {
        self.caller(crate::sandbox::GATEWAY)
    }
}

fn channel(address: SocketAddr, store: &Store) -> Channel {
    let id: Id = OWN.parse().unwrap();
    let address = ControlAddr::new(&address.to_string(), id).unwrap();
    let dial: control::Dial =
        Arc::new(|host, port| Box::pin(async move { TcpStream::connect((host, port)).await }));
    control::channel(address, store.clone(), dial)
}

/// A proxy's end of the conversation.
struct Proxy {
    discovery: Channel,
    policies: Channel,
}

impl Proxy {
    async fn get(&self, path: &str) -> Result<Updates, Status> {
        let request = GetDestination {
            path: path.to_owned(),
            ..GetDestination::default()
        };
        let response = DestinationClient::new(self.discovery.clone())
            .get(request)
            .await?;
        Ok(Updates {
            stream: response.into_inner(),
            balancer: valid::Balancer::default(),
        })
    }

    async fn profile(&self, path: &str) -> Result<Streaming<DestinationProfile>, Status> {
        let request = GetDestination {
            path: path.to_owned(),
            ..GetDestination::default()
        };
        let mut client = DestinationClient::new(self.discovery.clone());
        Ok(client.get_profile(request).await?.into_inner())
    }

    async fn policy(&self, target: &str) -> Result<OutboundPolicy, Status> {
        let mut client = OutboundPoliciesClient::new(self.policies.clone());
        let policy = client.get(traffic(target)).await?.into_inner();
        valid::policy(&policy);
        Ok(policy)
    }

    async fn watch_policy(&self, target: &str) -> Result<Streaming<OutboundPolicy>, Status> {
        let mut client = OutboundPoliciesClient::new(self.policies.clone());
        Ok(client.watch(traffic(target)).await?.into_inner())
    }

    async fn port(&self, workload: &str, port: u32) -> Result<Server, Status> {
        let mut client = InboundServerPoliciesClient::new(self.policies.clone());
        let spec = PortSpec {
            workload: workload.to_owned(),
            port,
        };
        let server = client.get_port(spec).await?.into_inner();
        valid::server(&server);
        Ok(server)
    }

    async fn directives(&self) -> Result<Streaming<Directives>, Status> {
        let question = WatchDirectivesRequest {};
        let answer = mesh_federation::watch::<WatchDirectives>(self.policies.clone(), question);
        Ok(answer.await?.into_inner())
    }

    async fn watch_port(&self, workload: &str, port: u32) -> Result<Streaming<Server>, Status> {
        let mut client = InboundServerPoliciesClient::new(self.policies.clone());
        let spec = PortSpec {
            workload: workload.to_owned(),
            port,
        };
        Ok(client.watch_port(spec).await?.into_inner())
    }
}

/// An address, or a name.
fn traffic(target: &str) -> TrafficSpec {
    let target = match target.parse::<SocketAddr>() {
        Ok(address) => traffic_spec::Target::Addr(address.into()),
        Err(_) => traffic_spec::Target::Authority(target.to_owned()),
    };
    TrafficSpec {
        source_workload: r#"{"ns":"default","pod":"client"}"#.to_owned(),
        target: Some(target),
    }
}

/// Updates, applied as a proxy would.
struct Updates {
    stream: Streaming<Update>,
    balancer: valid::Balancer,
}

impl Updates {
    async fn next(&mut self) -> Result<&valid::Balancer, Option<Status>> {
        let update = next(&mut self.stream).await?;
        self.balancer.update(&update);
        Ok(&self.balancer)
    }

    /// Until the addresses are these.
    async fn until(&mut self, addresses: &[&str]) {
        let wanted = addresses.iter().map(|a| a.parse().unwrap()).collect();
        while self.balancer.addresses != wanted || !self.balancer.exists {
            self.next().await.expect("the stream goes on");
        }
    }
}

/// The next message; an error is how the stream ended.
async fn next<M>(stream: &mut Streaming<M>) -> Result<M, Option<Status>> {
    let message = tokio::time::timeout(SOON, stream.next()).await;
    match message.expect("a message, or the end, comes soon") {
        Some(message) => message.map_err(Some),
        None => Err(None),
    }
}

fn code<T>(result: Result<T, Status>) -> Code {
    result.map_or_else(|status| status.code(), |_| Code::Ok)
}
