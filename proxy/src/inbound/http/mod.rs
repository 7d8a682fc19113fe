//! Requests to the workload, to the admin server, or to a name behind the gateway.
//!
//! [`Connection::answer`] lists the steps of one request in their order; [`series`] is what they are
//! counted as.

mod series;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderValue, Method, Request, Response, Version as HttpVersion};
use http_body_util::{BodyExt, Limited};
use hyper::service::Service;
use mesh_contract::headers::{CLIENT_ID, PROXY_CONNECTION, PROXY_ERROR, UNPROCESSED};
use mesh_daemon::admin;
use parking_lot::Mutex;

use self::series::Handles;
use super::{
    Inbound,
    client::Client,
    gateway::NamedTarget,
    policy::{
        Authorization, ServerPolicy,
        watch::{Receiver, given_up},
    },
    profiles,
};
use crate::{
    Drain, Error,
    directives::Turn,
    http::{
        Body, Version,
        client::{Client as AppClient, Reuse},
        client_fault::ClientFault,
        filter, headers,
        observe::{Observer, Seen, observe},
        orig_proto,
        rescue::Rescue,
        serve_connection,
        upgrade::{self, is_upgrade},
    },
    io::BoxIo,
    metrics::{Counter, Direction, InboundLabels, Meta, TlsLabels},
    witness::{Subject, Watched},
};

/// Who answers.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// The workload.
    App(SocketAddr),
    /// This proxy's admin server.
    Admin(SocketAddr),
    /// A name, through the gateway whose own address comes first.
    Named(SocketAddr, NamedTarget),
}

impl Target {
    /// Somebody in this pod.
    pub(super) fn local(inbound: &Inbound, addr: SocketAddr) -> Result<Self, Error> {
        if addr.port() == inbound.0.ports.admin {
            return Ok(Self::Admin(addr));
        }
        inbound.refuse_own(addr).map(|()| Self::App(addr))
    }

    /// The address policies and metrics know it by.
    pub(super) fn addr(&self) -> SocketAddr {
        match self {
            Self::App(addr) | Self::Admin(addr) | Self::Named(addr, _) => *addr,
        }
    }
}

impl Inbound {
    /// The policy of a port. Probes must not wait for the control plane, so the admin port takes
    /// what there is.
    pub(super) async fn policy(&self, port: u16) -> Result<Receiver, Error> {
        match port == self.0.ports.admin {
            true => self.0.policies.port_now(port),
            false => self.0.policies.port(port).await,
        }
    }
}

/// Serves one HTTP connection.
pub(super) async fn serve(
    inbound: &Inbound,
    target: Target,
    client: Client,
    policy: Receiver,
    version: Version,
    io: BoxIo,
    drain: Drain,
) -> Result<(), Error> {
    let tls = client.labels();
    let metrics = &inbound.0.runtime.metrics;
    let io = {
        let policy = policy.borrow().clone();
        let labels = InboundLabels {
            target: target.addr(),
            tls: &tls,
            server: &policy.meta,
            route: None,
            authz: None,
        };
        metrics.inbound_accept(&labels).open(io)
    };
    let app = match &target {
        Target::App(addr) => Some(inbound.0.apps.client(*addr)),
        Target::Admin(_) | Target::Named(..) => None,
    };
    let rescue = Rescue {
        // Whoever is not of the mesh need not know how it is made.
        informational: client.is_meshed(),
    };
    let client_id = client
        .id()
        .and_then(|id| HeaderValue::from_str(id.as_str()).ok());
    let requests = Requests(Arc::new(Connection {
        inbound: inbound.clone(),
        target,
        client,
        tls,
        client_id,
        policy,
        app,
        handles: Mutex::default(),
        profile: profiles::Last::default(),
    }));
    let mut settings = inbound.0.runtime.config.inbound.http;
    if let Target::Named(..) = requests.0.target {
        settings.h2 = settings.h2.across_clusters();
    }
    if requests.0.client.is_meshed() {
        // Its proxy keeps connections ready for requests to come.
        settings.h2_idle_timeout = None;
    }
    let connection = requests.0.clone();
    let served = serve_connection(io, version, &settings, rescue, requests, drain);
    tokio::select! {
        served = served => served,
        error = connection.banished() => Err(error),
    }
}

/// How long a client that nothing is allowed any more may go on with what it began.
const BANISHED_AFTER: Duration = Duration::from_secs(5);

/// What all requests of a connection share.
struct Connection {
    inbound: Inbound,
    target: Target,
    client: Client,
    tls: TlsLabels,
    client_id: Option<HeaderValue>,
    policy: Receiver,
    app: Option<Arc<AppClient>>,
    handles: Mutex<Vec<Handles>>,
    /// Whose ServiceProfile requests are counted by.
    profile: profiles::Last,
}

struct Requests(Arc<Connection>);

impl Service<Request<Body>> for Requests {
    type Response = Response<Body>;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Response<Body>, Error>>;

    fn call(&self, mut request: Request<Body>) -> Self::Future {
        let connection = self.0.clone();
        Box::pin(async move {
            let watched = connection.watch(&mut request);
            let answered = connection.answer(request).await;
            if let Err(error) = &answered {
                connection.count_error(error);
            }
            match watched {
                Some(watched) => watched.answered(answered),
                None => answered,
            }
        })
    }
}

impl Connection {
    async fn answer(self: &Arc<Self>, mut request: Request<Body>) -> Result<Response<Body>, Error> {
        // The version the application speaks is what routes and the forward need.
        let upgraded = orig_proto::downgrade_request(&mut request);
        // Before anything reads headers: what a client says about itself is not evidence.
        self.identify(&mut request);
        // Too much at once is turned away before it costs more.
        let in_flight = self.inbound.0.in_flight.clone().try_acquire_owned();
        let _in_flight = in_flight.map_err(|_| Error::LoadShed("too many requests in flight"))?;
        // Policies may have changed since the last request.
        let policy = self.policy.borrow().clone();
        let permitted = self.authorize(&policy, &request)?;
        let turn = self.client.admitted.request();
        let turn = turn.map_err(|_| Error::RateLimited)?;
        permitted.handles.allow.increment();
        self.limit(&policy)?;
        // Counted from here: what was not allowed is not traffic of the workload.
        let (client, mut request) = ClientFault::of(request, permitted.handles.stream.as_ref());
        let exchange = permitted.handles.http.request(headers::is_grpc(&request));
        let exchange = exchange.counted_as(permitted.handles.stream.as_ref(), &client);
        let by_profile = self.by_profile(&request);
        let prefix = permitted.prefix;
        // A tunnel has no more requests that could be judged: this one is, again and again.
        let tunnel = is_upgrade(&request).then(|| head(&request));
        let answered = match filter::on_request(&permitted.filters, &mut request, prefix) {
            Ok(()) => self.dispatch(request, &client).await,
            Err(answer) => Err(answer),
        };
        let mut response = match answered {
            Ok(response) => match by_profile {
                Some(by_profile) => by_profile.response(exchange.response(response)),
                None => exchange.response(response),
            },
            Err(error) => {
                exchange.error(&error);
                by_profile.into_iter().for_each(|by| by.error(&error));
                return Err(error);
            }
        };
        filter::on_response(&permitted.filters, response.headers_mut());
        if let Some(turn) = turn {
            response = response.map(|body| observe(body, Kept(turn)));
        }
        if let Some(head) = tunnel {
            upgrade::end_with(&mut response, self.clone().revoked(head));
            let admitted = self.client.admitted.clone();
            upgrade::end_with(&mut response, async move { drop(admitted.denied().await) });
        }
        if let Some(upgraded) = upgraded {
            orig_proto::upgrade_response(upgraded, &mut response);
        }
        Ok(response)
    }

    /// Whoever watches requests of the workload; nobody looks at probes and scrapes.
    fn watch(&self, request: &mut Request<Body>) -> Option<Watched> {
        if let Target::Admin(_) = self.target {
            return None;
        }
        let subject = Subject {
            direction: Direction::Inbound,
            client: self.client.addr,
            server: self.target.addr(),
            tls: &self.tls,
            labels: &[],
        };
        self.inbound.0.runtime.witnesses.begin(subject, request)
    }

    fn identify(&self, request: &mut Request<Body>) {
        let headers = request.headers_mut();
        match &self.client_id {
            Some(id) => drop(headers.insert(CLIENT_ID, id.clone())),
            None => drop(headers.remove(CLIENT_ID)),
        }
    }

    fn authorize(
        &self,
        policy: &Arc<ServerPolicy>,
        request: &Request<Body>,
    ) -> Result<Permitted, Error> {
        if let Target::Admin(_) = self.target
            && is_probe(request)
        {
            let probe = Meta::default_named("probe");
            return Ok(Permitted {
                filters: Arc::default(),
                prefix: None,
                handles: self.handles(policy, (&probe, false), &probe, None),
            });
        }
        let Some(found) = policy.find(request) else {
            self.count(Counter::HttpRouteNotFound, policy, None);
            return Err(Error::RouteNotFound);
        };
        let permit = &found.rule.then;
        match policy.authorize_http(permit, self.client.for_policy()) {
            Some(Authorization { meta, .. }) => {
                if meta.is_audit() {
                    tracing::info!(client = %self.client.addr, target = %self.target.addr(), "audit: allowed");
                }
                let authority = self.authority(request);
                Ok(Permitted {
                    filters: found.rule.filters.clone(),
                    prefix: found.prefix,
                    handles: self.handles(policy, (&permit.meta, permit.grpc), meta, authority),
                })
            }
            None => {
                self.count(Counter::HttpDeny, policy, Some(&permit.meta));
                Err(Error::Unauthorized(policy.meta.name.to_string()))
            }
        }
    }

    /// Completes when nothing has been allowed to the client for a while, or no policy is watched
    /// for: its requests are refused one by one, but responses that began before would go on for as
    /// long as they like.
    async fn banished(&self) -> Error {
        let mut policies = self.policy.clone();
        let banished =
            |policy: &Arc<ServerPolicy>| !policy.allows_anything(self.client.for_policy());
        loop {
            if policies.changed().await.is_err() {
                return given_up();
            }
            if !banished(&policies.borrow_and_update()) {
                continue;
            }
            tokio::time::sleep(BANISHED_AFTER).await;
            let policy = policies.borrow_and_update().clone();
            if banished(&policy) {
                self.count(Counter::TcpTerminate, &policy, None);
                return Error::Unauthorized(policy.meta.name.to_string());
            }
        }
    }

    /// Completes when a new policy does not allow a request like this any more, or none is watched
    /// for.
    async fn revoked(self: Arc<Self>, head: Request<()>) {
        let mut policies = self.policy.clone();
        while policies.changed().await.is_ok() {
            let policy = policies.borrow_and_update().clone();
            let client = self.client.for_policy();
            let allowed = policy
                .find(&head)
                .is_some_and(|found| policy.authorize_http(&found.rule.then, client).is_some());
            if !allowed {
                return self.count(Counter::TcpTerminate, &policy, None);
            }
        }
    }

    fn limit(&self, policy: &ServerPolicy) -> Result<(), Error> {
        let Some(limits) = &policy.rate_limit else {
            return Ok(());
        };
        limits
            .take(self.client.id(), Instant::now())
            .map_err(|scope| {
                let labels = self.labels(policy, None, None);
                let metrics = &self.inbound.0.runtime.metrics;
                metrics.rate_limited(&labels, &limits.meta, scope.as_str());
                Error::RateLimited
            })
    }

    async fn dispatch(
        &self,
        request: Request<Body>,
        client: &ClientFault,
    ) -> Result<Response<Body>, Error> {
        match &self.target {
            Target::App(addr) => self.forward(*addr, request, client).await,
            Target::Admin(_) => {
                let client = self.client.addr;
                Ok(answer_admin(&self.inbound.0.admin, client, request).await)
            }
            Target::Named(_, target) => match &self.inbound.0.gateway {
                Some(gateway) => gateway.http(target.clone(), request).await,
                None => Err(Error::GatewayDomainInvalid(target.name.clone())),
            },
        }
    }

    async fn forward(
        &self,
        addr: SocketAddr,
        mut request: Request<Body>,
        client: &ClientFault,
    ) -> Result<Response<Body>, Error> {
        let Some(app) = &self.app else {
            return Err(Error::Fail("no application behind this port".into()));
        };
        let sent = if request.version() == HttpVersion::HTTP_2 {
            orig_proto::name(&mut request, addr);
            let sent = app.send_h2(request).await;
            sent.map(|(response, stream)| stream.until_end_of(response))
        } else {
            let reuse = Reuse::of(&request);
            app.send_h1(request, reuse).await
        };
        let mut response = sent.map_err(|failed| client.or(failed.error))?;
        // Peers take these for words of a proxy, and would send the request elsewhere.
        let headers = response.headers_mut();
        if headers::has_ours(headers) {
            for name in [PROXY_ERROR, PROXY_CONNECTION, UNPROCESSED] {
                headers.remove(name);
            }
        }
        Ok(response)
    }
}

/// A turn that lasts as long as the response's body.
struct Kept(#[expect(dead_code, reason = "dropping it is all")] Turn);

impl Observer for Kept {
    fn saw(&mut self, _: Seen<'_>) {}
}

/// A request that may go on.
struct Permitted {
    filters: Arc<[filter::Filter]>,
    /// What of the path the rule named, if it named a prefix.
    prefix: Option<usize>,
    handles: Handles,
}

/// What routes and authorizations look at.
fn head(request: &Request<Body>) -> Request<()> {
    let mut head = Request::new(());
    *head.method_mut() = request.method().clone();
    *head.uri_mut() = request.uri().clone();
    *head.version_mut() = request.version();
    *head.headers_mut() = request.headers().clone();
    head
}

/// Kubelets and gateways' probes prove nothing and need to know only this.
fn is_probe(request: &Request<Body>) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD)
        && matches!(request.uri().path(), "/live" | "/ready")
}

async fn answer_admin(
    admin: &admin::Admin,
    client: SocketAddr,
    request: Request<Body>,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body: Bytes = match Limited::new(body, MAX_ADMIN_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => {
            let status = http::StatusCode::PAYLOAD_TOO_LARGE;
            let answer = admin::respond(status, "text/plain", "the body is too long\n");
            return answer.map(Body::new);
        }
    };
    let mut request = Request::from_parts(parts, body);
    request.extensions_mut().insert(admin::Peer(client));
    admin.handle(&request).map(Body::new)
}

const MAX_ADMIN_BODY: usize = 64 * 1024;
