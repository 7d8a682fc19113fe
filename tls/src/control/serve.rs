//! Serving gRPC over mesh TLS: which service a request is for, and how the server ends.

use super::incoming;
use crate::Store;
use std::{
    convert::Infallible,
    fmt,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{net::TcpListener, sync::Notify};
use tonic::{
    Status,
    body::Body,
    server::NamedService,
    transport::{Error, Server},
};
use tower::{Service, ServiceExt, util::BoxCloneSyncService};

type Request = http::Request<Body>;
type Response = http::Response<Body>;
type Boxed = BoxCloneSyncService<Request, Response, Infallible>;

/// Several gRPC services behind one port. A request for any other is answered `Unimplemented`,
/// which to a client that tries an addition of ours means stock behaviour.
#[derive(Clone)]
pub struct Services {
    list: Vec<(&'static str, Boxed)>,
    streams: u32,
}

/// So that a peer that vanished without a word is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// A sidecar holds a stream for each target its applications talk to.
const MAX_STREAMS: u32 = 10_000;
/// From the head of a request to the head of its answer: whoever sends slower holds memory only.
const REQUEST: Duration = Duration::from_secs(10);
const MAX_HEADERS: u32 = 16 * 1024;
/// Streams of watches never end by themselves: after a shutdown they are given this long.
const GRACE: Duration = Duration::from_secs(2);

impl Services {
    /// None yet.
    pub fn new() -> Self {
        Self {
            list: Vec::new(),
            streams: MAX_STREAMS,
        }
    }

    /// So many requests of one connection at once at most. A service whose callers are anybody
    /// needs few.
    pub fn streams(self, streams: u32) -> Self {
        Self { streams, ..self }
    }

    /// Adds a generated server.
    #[expect(
        clippy::should_implement_trait,
        reason = "it is what tonic's users look for"
    )]
    pub fn add<S>(mut self, service: S) -> Self
    where
        S: Service<Request, Response = Response, Error = Infallible> + NamedService,
        S: Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        self.list.push((S::NAME, BoxCloneSyncService::new(service)));
        self
    }
}

impl Default for Services {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.list.iter().map(|(name, _)| name);
        f.debug_list().entries(names).finish()
    }
}

impl Service<Request> for Services {
    type Response = Response;
    type Error = Infallible;
    type Future = futures::future::BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let path = request.uri().path();
        // gRPC paths are `/package.Service/Method`.
        let name = path
            .strip_prefix('/')
            .and_then(|path| path.split('/').next());
        let service = self.list.iter().find(|(known, _)| Some(*known) == name);
        match service {
            Some((_, service)) => Box::pin(service.clone().oneshot(request)),
            None => {
                let status = Status::unimplemented(format!("no service at {path}"));
                Box::pin(std::future::ready(Ok(status.into_http())))
            }
        }
    }
}

/// Serves over mesh TLS from when the store is certified until `shutdown`; then connections get a
/// GOAWAY and a moment to finish.
pub async fn serve(
    listener: TcpListener,
    store: Store,
    services: Services,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), Error> {
    let stopping = Arc::new(Notify::new());
    let signal = async {
        shutdown.await;
        stopping.notify_one();
    };
    let serving = Server::builder()
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
        .timeout(REQUEST)
        .max_concurrent_streams(services.streams)
        .http2_max_header_list_size(MAX_HEADERS)
        .serve_with_incoming_shutdown(services, incoming(listener, store), signal);
    let overdue = async {
        stopping.notified().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        served = serving => served,
        () = overdue => Ok(()),
    }
}
