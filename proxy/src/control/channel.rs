//! A channel to the control plane whose requests are counted (`control_*`).

use std::{
    io,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use http::{Request, Response};
use tonic::{
    codegen::Service,
    transport::{self, Error as TransportError},
};

use crate::{Error, http::Body, metrics::HttpMetrics};

/// A channel. Cloned freely.
#[derive(Clone)]
pub struct Channel {
    inner: transport::Channel,
    metrics: HttpMetrics,
}

impl Channel {
    pub(super) fn new(inner: transport::Channel, metrics: HttpMetrics) -> Self {
        Self { inner, metrics }
    }

    /// The same, for what is not counted.
    pub fn uncounted(&self) -> transport::Channel {
        self.inner.clone()
    }
}

impl Service<Request<tonic::body::Body>> for Channel {
    type Response = Response<Body>;
    type Error = TransportError;
    type Future = BoxFuture<'static, Result<Response<Body>, TransportError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<tonic::body::Body>) -> Self::Future {
        let exchange = self.metrics.request(true);
        let sent = self.inner.call(request);
        Box::pin(async move {
            match sent.await {
                Ok(response) => Ok(exchange.response(response.map(Body::new))),
                Err(error) => {
                    exchange.error(&Error::Io(io::ErrorKind::NotConnected.into()));
                    Err(error)
                }
            }
        })
    }
}
