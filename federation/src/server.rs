//! Answering: one method, with the others `Unimplemented`.

use crate::Method;
use futures::{
    future::{BoxFuture, Ready, ready},
    stream::BoxStream,
};
use std::{
    convert::Infallible,
    fmt,
    sync::Arc,
    task::{Context, Poll},
};
use tonic::{
    Request, Response, Status,
    body::Body,
    server::{Grpc, NamedService, ServerStreamingService},
};
use tonic_prost::ProstCodec;
use tower::Service;

/// Answers to one question.
pub type Messages<M> = BoxStream<'static, Result<M, Status>>;

type Answer<M> = dyn Fn(Request<<M as Method>::Question>) -> Result<Messages<<M as Method>::Answer>, Status>
    + Send
    + Sync;

/// No question is longer.
const MAX_QUESTION: usize = 8 * 1024;

/// The service as a process serves it that knows the answer to one method.
pub struct Server<M: Method>(Arc<Answer<M>>);

impl<M: Method> Server<M> {
    /// Answers every question with the stream that `answer` makes, or the refusal.
    pub fn new(
        answer: impl Fn(Request<M::Question>) -> Result<Messages<M::Answer>, Status>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self(Arc::new(answer))
    }
}

impl<M: Method> Clone for Server<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<M: Method> fmt::Debug for Server<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Server").field(&M::PATH).finish()
    }
}

impl<M: Method> NamedService for Server<M> {
    const NAME: &'static str = M::SERVICE;
}

impl<M: Method> Service<http::Request<Body>> for Server<M> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let asked = Asked::<M>(self.0.clone());
        Box::pin(async move {
            if request.uri().path() != M::PATH {
                let path = request.uri().path();
                return Ok(Status::unimplemented(format!("no method at {path}")).into_http());
            }
            let mut grpc = Grpc::new(ProstCodec::default())
                .max_decoding_message_size(MAX_QUESTION)
                .max_encoding_message_size(M::MAX_ANSWER);
            Ok(grpc.server_streaming(asked, request).await)
        })
    }
}

/// The method.
struct Asked<M: Method>(Arc<Answer<M>>);

impl<M: Method> ServerStreamingService<M::Question> for Asked<M> {
    type Response = M::Answer;
    type ResponseStream = Messages<M::Answer>;
    type Future = Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<M::Question>) -> Self::Future {
        ready((self.0)(request).map(Response::new))
    }
}
