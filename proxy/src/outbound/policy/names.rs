//! What metrics call the routes and backends of a policy, and their series once somebody used them.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use linkerd2_proxy_api::meta::{Metadata, metadata::Kind as Wire};
use tokio::time::Instant;

use crate::metrics::{
    Balanced, HttpMetrics, Kind, Metrics, Object, QueueMetrics, Source, StreamMetrics,
};

/// A route, and whose it is. Shared by all rules of the route.
pub struct RouteName {
    /// Whose policy it is part of.
    pub parent: Arc<Object>,
    /// The route.
    pub route: Arc<Object>,
    /// What it routes.
    pub kind: RouteKind,
    /// What a ServiceProfile calls it.
    profile: Option<ProfileName>,
    metrics: OnceLock<StreamMetrics>,
}

/// A route of a ServiceProfile.
struct ProfileName {
    dst: Arc<str>,
    /// Sorted.
    labels: Vec<(String, String)>,
    metrics: OnceLock<[HttpMetrics; 2]>,
}

/// A backend of a route.
pub struct BackendName {
    /// In which route.
    pub route: Arc<RouteName>,
    /// The backend.
    pub backend: Arc<Object>,
    metrics: OnceLock<StreamMetrics>,
    queue: OnceLock<QueueMetrics>,
}

/// What a route routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteKind {
    /// Requests.
    Http,
    /// Calls of gRPC.
    Grpc,
    /// Connections.
    Tcp,
    /// Connections of somebody else's TLS.
    Tls,
}

impl RouteName {
    /// Not counted yet.
    pub fn new(kind: RouteKind, parent: &Arc<Object>, route: Arc<Object>) -> Arc<Self> {
        Arc::new(Self {
            parent: parent.clone(),
            route,
            kind,
            profile: None,
            metrics: OnceLock::new(),
        })
    }

    /// The same route as one of the ServiceProfile of `dst`.
    pub fn of_profile(&self, dst: &Arc<str>, labels: &HashMap<String, String>) -> Arc<Self> {
        let labels: BTreeMap<_, _> = labels.clone().into_iter().collect();
        Arc::new(Self {
            parent: self.parent.clone(),
            route: self.route.clone(),
            kind: self.kind,
            profile: Some(ProfileName {
                dst: dst.clone(),
                labels: labels.into_iter().collect(),
                metrics: OnceLock::new(),
            }),
            metrics: OnceLock::new(),
        })
    }

    /// The series of a ServiceProfile's route: of requests, and of those that were sent for them.
    pub fn profile_metrics(&self, metrics: &Metrics) -> Option<&[HttpMetrics; 2]> {
        let profile = self.profile.as_ref()?;
        let make = || metrics.profile_route(&profile.dst, &profile.labels);
        Some(profile.metrics.get_or_init(make))
    }

    /// Counts a request that the route asks to send again, if it is one of a ServiceProfile; `skipped`
    /// says why it was not.
    pub fn retryable(&self, metrics: &Metrics, skipped: Option<&'static str>) {
        if let Some(profile) = &self.profile {
            metrics.profile_retryable(&profile.dst, &profile.labels, skipped);
        }
    }

    /// Of a policy no object says.
    pub fn implicit(kind: RouteKind, name: &str) -> Arc<Self> {
        let object = Arc::new(Object::default_named(name));
        Self::new(kind, &object.clone(), object)
    }

    /// The series of its requests, looked up once.
    pub fn metrics(&self, metrics: &Metrics) -> &StreamMetrics {
        self.metrics.get_or_init(|| self.metrics_of(metrics, ""))
    }

    /// The series of its requests for one name.
    pub fn metrics_of(&self, metrics: &Metrics, hostname: &str) -> StreamMetrics {
        let kind = match self.kind {
            RouteKind::Grpc => Kind::OutboundGrpcRoute,
            RouteKind::Http | RouteKind::Tcp | RouteKind::Tls => Kind::OutboundHttpRoute,
        };
        metrics.outbound_route(kind, (&self.parent, &self.route), hostname)
    }

    /// A backend of this route.
    pub fn backend(self: &Arc<Self>, backend: Arc<Object>) -> Arc<BackendName> {
        Arc::new(BackendName {
            route: self.clone(),
            backend,
            metrics: OnceLock::new(),
            queue: OnceLock::new(),
        })
    }
}

impl BackendName {
    /// The series of the requests it got, looked up once.
    pub fn metrics(&self, metrics: &Metrics) -> &StreamMetrics {
        self.metrics.get_or_init(|| {
            let kind = match self.route.kind {
                RouteKind::Grpc => Kind::OutboundGrpcBackend,
                RouteKind::Http | RouteKind::Tcp | RouteKind::Tls => Kind::OutboundHttpBackend,
            };
            let route = (&*self.route.parent, &*self.route.route);
            metrics.outbound_backend(kind, route, &self.backend)
        })
    }
}

impl BackendName {
    /// Shows its balancer. Requests that wait for its endpoints are counted from now on.
    pub(crate) fn show(
        &self,
        metrics: &Metrics,
        (logical, concrete): (&str, &str),
        balancer: Weak<dyn Source>,
    ) {
        let balanced = match self.route.kind {
            RouteKind::Http | RouteKind::Grpc => Balanced::Http,
            RouteKind::Tcp => Balanced::Tcp,
            RouteKind::Tls => Balanced::Tls,
        };
        let names = (&*self.route.parent, &*self.backend);
        let queue = metrics.outbound_balancer(balanced, names, (logical, concrete), balancer);
        // Said before, it was the same.
        let _ = self.queue.set(queue);
    }

    /// Counts a request that got one of its balancer's endpoints after having waited.
    pub fn served(&self, now: Instant, waited: Duration) {
        if let Some(queue) = self.queue.get() {
            queue.served(now.into_std(), waited);
        }
    }
}

/// The object a message describes; nameless if it describes none.
pub fn object(metadata: Option<Metadata>) -> Arc<Object> {
    let object = match metadata.and_then(|metadata| metadata.kind) {
        None => Object::default_named(""),
        Some(Wire::Default(name)) => Object::default_named(&name),
        Some(Wire::Resource(resource)) => Object {
            group: resource.group.into(),
            kind: resource.kind.into(),
            namespace: resource.namespace.into(),
            name: resource.name.into(),
            section: resource.section.into(),
            port: u16::try_from(resource.port).ok().filter(|port| *port > 0),
        },
    };
    object.into()
}

/// Names are the same whether they were counted or not.
impl PartialEq for RouteName {
    fn eq(&self, other: &Self) -> bool {
        (&self.parent, &self.route, self.kind) == (&other.parent, &other.route, other.kind)
    }
}

impl PartialEq for BackendName {
    fn eq(&self, other: &Self) -> bool {
        (&self.route, &self.backend) == (&other.route, &other.backend)
    }
}

impl fmt::Debug for RouteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (parent, route) = (&self.parent, &self.route);
        write!(f, "{} of {}", route.name, parent.name)
    }
}

impl fmt::Debug for BackendName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {:?}", self.backend.name, self.route)
    }
}
