//! One cluster's control plane: certifies everybody, and answers what it was told.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use futures::{StreamExt, stream::BoxStream};
use linkerd2_proxy_api::{
    destination::{
        DestinationProfile, GetDestination, NoEndpoints, Update, WeightedAddr, WeightedAddrSet,
        destination_server::{Destination, DestinationServer},
        update,
    },
    identity::identity_server::IdentityServer,
    outbound::{
        self as api, OutboundPolicy, TrafficSpec,
        backend::{self, EndpointDiscovery, endpoint_discovery},
        outbound_policies_server::{OutboundPolicies, OutboundPoliciesServer},
        traffic_spec,
    },
};
use mesh_federation::{Directives, Server, WatchDirectives};
use mesh_tls::{control::Services, testing::Issuer};
use parking_lot::Mutex;
use tokio::{net::TcpListener, sync::watch};
use tokio_stream::wrappers::{TcpListenerStream, WatchStream};
use tonic::{Request, Response, Status};

#[derive(Clone)]
pub(crate) struct Plane {
    pub(crate) addr: SocketAddr,
    script: Arc<Script>,
}

struct Script {
    /// By target; none once it is withdrawn.
    policies: Mutex<HashMap<String, watch::Sender<Option<OutboundPolicy>>>>,
    endpoints: Mutex<HashMap<String, watch::Sender<Vec<WeightedAddr>>>>,
    directives: watch::Sender<Option<Directives>>,
}

impl Plane {
    pub(crate) async fn start(issuer: Issuer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let plane = Self {
            addr: listener.local_addr().unwrap(),
            script: Arc::new(Script {
                policies: Mutex::default(),
                endpoints: Mutex::default(),
                directives: watch::Sender::default(),
            }),
        };
        let script = plane.script.clone();
        let directives = Server::<WatchDirectives>::new(move |_| {
            let said = WatchStream::new(script.directives.subscribe());
            Ok(said.filter_map(async |said| said.map(Ok)).boxed())
        });
        let services = Services::new()
            .add(directives)
            .add(IdentityServer::new(issuer))
            .add(DestinationServer::new(plane.clone()))
            .add(OutboundPoliciesServer::new(plane.clone()));
        tokio::spawn(
            tonic::transport::Server::builder()
                .serve_with_incoming(services, TcpListenerStream::new(listener)),
        );
        plane
    }

    /// Requests for `target` go to the endpoints of `path`.
    pub(crate) fn policy(&self, target: &str, path: &str) {
        let policy = balance(path);
        let mut policies = self.script.policies.lock();
        let sender = policies.entry(target.to_owned()).or_default();
        sender.send_replace(Some(policy));
    }

    /// Nothing is known of `target` any more.
    pub(crate) fn withdraw(&self, target: &str) {
        self.script.policies.lock()[target].send_replace(None);
    }

    /// Says once how long what it has said of exports holds.
    pub(crate) fn lease(&self, seconds: u32) {
        self.script.directives.send_replace(Some(Directives {
            lease_seconds: seconds,
            ..Directives::default()
        }));
    }

    pub(crate) fn endpoints(&self, path: &str, endpoints: &[WeightedAddr]) {
        let mut all = self.script.endpoints.lock();
        let sender = all.entry(path.to_owned()).or_default();
        sender.send_replace(endpoints.to_vec());
    }
}

fn balance(path: &str) -> OutboundPolicy {
    let backend = api::Backend {
        kind: Some(backend::Kind::Balancer(backend::BalanceP2c {
            discovery: Some(EndpointDiscovery {
                kind: Some(endpoint_discovery::Kind::Dst(
                    endpoint_discovery::DestinationGet {
                        path: path.to_owned(),
                    },
                )),
            }),
            load: None,
        })),
        ..Default::default()
    };
    let http = api::http_route::Distribution {
        kind: Some(api::http_route::distribution::Kind::FirstAvailable(
            api::http_route::distribution::FirstAvailable {
                backends: vec![api::http_route::RouteBackend {
                    backend: Some(backend.clone()),
                    ..Default::default()
                }],
            },
        )),
    };
    let opaque = api::opaque_route::Distribution {
        kind: Some(api::opaque_route::distribution::Kind::FirstAvailable(
            api::opaque_route::distribution::FirstAvailable {
                backends: vec![api::opaque_route::RouteBackend {
                    backend: Some(backend),
                    ..Default::default()
                }],
            },
        )),
    };
    let routes = vec![api::HttpRoute {
        rules: vec![api::http_route::Rule {
            backends: Some(http),
            ..Default::default()
        }],
        ..Default::default()
    }];
    let detect = api::proxy_protocol::Detect {
        timeout: None,
        opaque: Some(api::proxy_protocol::Opaque {
            routes: vec![api::OpaqueRoute {
                metadata: None,
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
        metadata: None,
        protocol: Some(api::ProxyProtocol {
            kind: Some(api::proxy_protocol::Kind::Detect(detect)),
        }),
    }
}

#[tonic::async_trait]
impl OutboundPolicies for Plane {
    type WatchStream = BoxStream<'static, Result<OutboundPolicy, Status>>;

    async fn get(&self, _: Request<TrafficSpec>) -> Result<Response<OutboundPolicy>, Status> {
        Err(Status::unimplemented("diagnostics only"))
    }

    async fn watch(
        &self,
        request: Request<TrafficSpec>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let target = match request.into_inner().target {
            Some(traffic_spec::Target::Addr(addr)) => {
                SocketAddr::try_from(addr).unwrap().to_string()
            }
            Some(traffic_spec::Target::Authority(name)) => name,
            None => return Err(Status::invalid_argument("no target")),
        };
        let unknown = || Status::not_found("nothing is known of this target");
        let policies = self.script.policies.lock();
        let policy = policies.get(&target).map(watch::Sender::subscribe);
        let policy = policy.filter(|policy| policy.borrow().is_some());
        let policies = WatchStream::new(policy.ok_or_else(unknown)?);
        let policies = policies.map(move |policy| policy.ok_or_else(unknown));
        Ok(Response::new(policies.boxed()))
    }
}

#[tonic::async_trait]
impl Destination for Plane {
    type GetStream = BoxStream<'static, Result<Update, Status>>;
    type GetProfileStream = BoxStream<'static, Result<DestinationProfile, Status>>;

    async fn get(
        &self,
        request: Request<GetDestination>,
    ) -> Result<Response<Self::GetStream>, Status> {
        let path = request.into_inner().path;
        let mut all = self.script.endpoints.lock();
        let receiver = all.entry(path).or_default().subscribe();
        let updates = WatchStream::new(receiver).map(|addrs| {
            let update = match addrs.is_empty() {
                true => update::Update::NoEndpoints(NoEndpoints { exists: true }),
                false => update::Update::Add(WeightedAddrSet {
                    addrs,
                    ..Default::default()
                }),
            };
            Ok(Update {
                update: Some(update),
            })
        });
        Ok(Response::new(updates.boxed()))
    }

    async fn get_profile(
        &self,
        _: Request<GetDestination>,
    ) -> Result<Response<Self::GetProfileStream>, Status> {
        Err(Status::unimplemented("no profiles"))
    }
}
