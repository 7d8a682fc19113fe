//! Telling what a store trusts, to those who have an identity.

use super::{MAX_BUNDLE, SERVICE, TrustBundle, WATCH, WatchTrustBundleRequest};
use crate::{Store, TrustAnchors, control::ClientIdentity};
use futures::{future::BoxFuture, stream::BoxStream};
use std::{
    convert::Infallible,
    task::{Context, Poll},
};
use tonic::{
    Request, Response, Status,
    body::Body,
    server::{Grpc, NamedService, ServerStreamingService},
};
use tonic_prost::ProstCodec;
use tower::Service;

/// The service `mesh.federation.v1.Federation` of a process with this store.
#[derive(Clone, Debug)]
pub struct Federation(Store);

impl Federation {
    /// Tells what `store` trusts, now and later.
    pub fn new(store: Store) -> Self {
        Self(store)
    }
}

impl NamedService for Federation {
    const NAME: &'static str = SERVICE;
}

impl Service<http::Request<Body>> for Federation {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let watch = Watch(self.0.clone());
        Box::pin(async move {
            if request.uri().path() != WATCH {
                let path = request.uri().path();
                return Ok(Status::unimplemented(format!("no method at {path}")).into_http());
            }
            let mut grpc = Grpc::new(ProstCodec::default()).max_decoding_message_size(MAX_BUNDLE);
            Ok(grpc.server_streaming(watch, request).await)
        })
    }
}

/// The one method.
struct Watch(Store);

impl ServerStreamingService<WatchTrustBundleRequest> for Watch {
    type Response = TrustBundle;
    type ResponseStream = BoxStream<'static, Result<TrustBundle, Status>>;
    type Future = BoxFuture<'static, Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<WatchTrustBundleRequest>) -> Self::Future {
        let caller = request.extensions().get::<ClientIdentity>();
        let known = caller.is_some_and(|ClientIdentity(peer)| peer.is_some());
        let store = self.0.clone();
        Box::pin(async move {
            if !known {
                let reason = "trust bundles are told to those with an identity; get one first";
                return Err(Status::unauthenticated(reason));
            }
            let bundles = futures::stream::unfold((store, None), next);
            Ok(Response::new(Box::pin(bundles) as Self::ResponseStream))
        })
    }
}

/// What was told last.
type Told = Option<(TrustAnchors, Option<String>)>;

/// What is trusted and who signs, once that differs from what was `told`.
async fn next(
    (store, told): (Store, Told),
) -> Option<(Result<TrustBundle, Status>, (Store, Told))> {
    if let Some((anchors, issuer)) = &told {
        store.differs(anchors, issuer.as_deref()).await;
    }
    let (anchors, issuer) = (store.anchors(), store.issuer());
    let certificates = anchors.certificates().iter().map(|one| one.to_vec());
    let bundle = TrustBundle {
        certificates: certificates.collect(),
        issuer: issuer.clone().unwrap_or_default(),
    };
    Some((Ok(bundle), (store, Some((anchors, issuer)))))
}
