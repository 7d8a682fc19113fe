//! A client whose requests a test can see, and hold up.

use super::Cluster;
use devcluster::testing::config;
use http::request::Parts;
use kube::{
    Client,
    client::{Body, ClientBuilder},
};
use std::{
    sync::Arc,
    task::{Context, Poll},
};
use tower::ServiceExt as _;

/// Called before each request is sent.
type Tap = Arc<dyn Fn(Parts) -> futures::future::BoxFuture<'static, ()> + Send + Sync>;

/// A client of `cluster` that lets `tap` see each request before it is sent.
pub(crate) async fn tapped(cluster: &Cluster, tap: Tap) -> Client {
    let config = config(&cluster.kubeconfig(None)).await;
    let layer = tower::layer::layer_fn(move |inner| Tapped {
        tap: tap.clone(),
        inner: Arc::new(tokio::sync::Mutex::new(inner)),
    });
    ClientBuilder::try_from(config)
        .unwrap()
        .with_layer(&layer)
        .build()
}

struct Tapped<S> {
    tap: Tap,
    inner: Arc<tokio::sync::Mutex<S>>,
}

impl<S> tower::Service<http::Request<Body>> for Tapped<S>
where
    S: tower::Service<http::Request<Body>> + Send + 'static,
    S::Future: Send,
    S::Error: Send,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = futures::future::BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(())) // waited for in `call`, after the tap
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let (tap, inner) = (self.tap.clone(), self.inner.clone());
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            tap(parts.clone()).await;
            let answer = {
                let mut inner = inner.lock().await;
                let request = http::Request::from_parts(parts, body);
                inner.ready().await?.call(request)
            };
            answer.await
        })
    }
}
