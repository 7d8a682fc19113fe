//! Asking.

use crate::Method;
use tonic::{
    IntoRequest, Response, Status, Streaming, client::Grpc, codegen::http::uri::PathAndQuery,
    transport::Channel,
};
use tonic_prost::ProstCodec;

/// Opens a stream of answers. One that is longer than the method allows ends it with an error.
pub async fn watch<M: Method>(
    channel: Channel,
    question: impl IntoRequest<M::Question>,
) -> Result<Response<Streaming<M::Answer>>, Status> {
    let mut grpc = Grpc::new(channel).max_decoding_message_size(M::MAX_ANSWER);
    let not_ready = |error: tonic::transport::Error| Status::unavailable(error.to_string());
    grpc.ready().await.map_err(not_ready)?;
    let codec = ProstCodec::<M::Question, M::Answer>::default();
    let path = PathAndQuery::from_static(M::PATH);
    grpc.server_streaming(question.into_request(), path, codec)
        .await
}
