//! The gRPC service behind which taps are, on a listener of its own: mesh TLS, for one identity only.

use futures::stream::BoxStream;
use linkerd2_proxy_api::tap::{
    ObserveRequest, TapEvent,
    observe_request::extract::Extract,
    tap_server::{Tap, TapServer},
};
use mesh_daemon::Shutdown;
use mesh_tls::{
    Id, Store,
    control::{ClientIdentity, Services, serve},
};
use tokio::net::TcpListener;
use tonic::{Request, Response, Status};

use super::{Taps, matches::Match};

/// Serves taps to `client` until shutdown.
pub async fn run(listener: TcpListener, store: Store, client: Id, taps: Taps, shutdown: Shutdown) {
    let service = Service { client, taps };
    let services = Services::new().streams(100).add(TapServer::new(service));
    let stopped = async move { shutdown.requested().await };
    if let Err(error) = serve(listener, store, services, stopped).await {
        tracing::warn!(%error, "taps cannot be served any more");
    }
}

pub(super) struct Service {
    pub(super) client: Id,
    pub(super) taps: Taps,
}

#[tonic::async_trait]
impl Tap for Service {
    type ObserveStream = BoxStream<'static, Result<TapEvent, Status>>;

    async fn observe(
        &self,
        request: Request<ObserveRequest>,
    ) -> Result<Response<Self::ObserveStream>, Status> {
        let who = request.extensions().get::<ClientIdentity>();
        let who = who.and_then(|who| who.0.as_ref());
        if who.is_none_or(|who| *who.id() != self.client) {
            let whom = format!("only {} may look at requests", self.client);
            return Err(Status::unauthenticated(whom));
        }
        let ObserveRequest {
            limit,
            r#match,
            extract,
        } = request.into_inner();
        if limit == 0 {
            return Err(Status::invalid_argument("the limit must be above 0"));
        }
        let matches = r#match.ok_or_else(|| Status::invalid_argument("no match"))?;
        let matches = Match::new(matches).map_err(Status::invalid_argument)?;
        let headers = extract.and_then(|extract| extract.extract);
        let headers = headers.is_some_and(|Extract::Http(http)| http.extract.is_some());
        let events = self.taps.add(matches, headers, limit);
        let busy = || Status::resource_exhausted("too many look at requests already");
        let events = events.ok_or_else(busy)?;
        let events = futures::stream::unfold(events, |mut events| async {
            Some((Ok(events.recv().await?), events))
        });
        Ok(Response::new(Box::pin(events)))
    }
}
