//! What an answer means for retries: whether its route asks for it again.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::FutureExt;
use http::{Response, StatusCode};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use mesh_contract::headers::{PROXY_ERROR, UNPROCESSED};

use crate::{
    http::{
        Body,
        body::BodyError,
        headers::{grpc_status, is_grpc_response},
    },
    outbound::{policy::Retry, retry::Fault},
};

/// What it means if a proxy on the way answered in the application's stead, for want of a way to it.
pub(super) fn proxy_fault(response: &Response<Body>) -> Option<Fault> {
    let headers = response.headers();
    if !headers.contains_key(PROXY_ERROR) {
        return None;
    }
    let unavailable = matches!(
        response.status(),
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
    ) || matches!(grpc_status(headers), Some(DEADLINE_EXCEEDED | UNAVAILABLE));
    match headers.contains_key(UNPROCESSED) {
        true => Some(Fault::PeerRefused),
        false => unavailable.then_some(Fault::PeerProxy),
    }
}

/// Codes of gRPC.
const DEADLINE_EXCEEDED: u16 = 4;
const UNAVAILABLE: u16 = 14;

/// Whether the route asks for another answer.
pub(super) fn is_unwanted(retry: &Retry, response: &Response<Body>) -> bool {
    let status = response.status().as_u16();
    let ranges = &retry.statuses;
    ranges
        .iter()
        .any(|(from, to)| (*from..=*to).contains(&status))
        || grpc_status(response.headers()).is_some_and(|code| retry.grpc.contains(&code))
}

/// A gRPC server may say at the end of a response what another says at its beginning. Waits for the
/// first frame and, if the trailers are right behind it, shows their status where [`is_unwanted`]
/// looks. Nothing of the body is lost.
pub(super) async fn peek(retry: &Retry, response: Response<Body>) -> (Response<Body>, bool) {
    let undecided = !retry.grpc.is_empty()
        && is_grpc_response(response.headers())
        && grpc_status(response.headers()).is_none();
    if !undecided || response.body().is_end_stream() {
        let unwanted = is_unwanted(retry, &response);
        return (response, unwanted);
    }
    let (parts, mut rest) = response.into_parts();
    let mut seen = VecDeque::new();
    seen.extend(rest.frame().await);
    if seen.back().is_some_and(is_data)
        && let Some(next) = rest.frame().now_or_never()
    {
        seen.extend(next);
    }
    let trailers = seen
        .back()
        .and_then(|frame| frame.as_ref().ok()?.trailers_ref());
    let unwanted = trailers
        .and_then(grpc_status)
        .is_some_and(|code| retry.grpc.contains(&code));
    let body = Body::new(Peeked { seen, rest });
    (Response::from_parts(parts, body), unwanted)
}

type Seen = Result<Frame<Bytes>, BodyError>;

fn is_data(frame: &Seen) -> bool {
    frame.as_ref().is_ok_and(Frame::is_data)
}

/// A body of which the beginning was read already.
struct Peeked {
    seen: VecDeque<Seen>,
    rest: Body,
}

impl http_body::Body for Peeked {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Seen>> {
        match self.seen.pop_front() {
            Some(frame) => Poll::Ready(Some(frame)),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.seen.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.seen.is_empty() {
            true => self.rest.size_hint(),
            false => SizeHint::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use http_body_util::StreamBody;

    use super::*;

    fn retry() -> Retry {
        Retry {
            max_retries: 1,
            max_request_bytes: 0,
            statuses: vec![(502, 504)],
            grpc: vec![14],
            timeout: None,
            backoff: None,
            budget: None,
        }
    }

    fn grpc(frames: Vec<Frame<Bytes>>) -> Response<Body> {
        let frames = frames.into_iter().map(Ok::<_, BodyError>);
        let body = Body::new(StreamBody::new(futures::stream::iter(frames)));
        let response = Response::builder().header("content-type", "application/grpc");
        response.body(body).unwrap()
    }

    fn trailers(code: &'static str) -> Frame<Bytes> {
        let status = ("grpc-status".parse().unwrap(), code.parse().unwrap());
        Frame::trailers(HeaderMap::from_iter([status]))
    }

    fn data(bytes: &'static str) -> Frame<Bytes> {
        Frame::data(Bytes::from(bytes))
    }

    #[tokio::test]
    async fn a_failure_in_trailers_behind_the_first_frame_is_seen() {
        let retry = retry();
        for (frames, unwanted) in [
            (vec![trailers("14")], true),
            (vec![data("x"), trailers("14")], true),
            (vec![data("x"), trailers("0")], false),
            (vec![data("x"), data("y"), trailers("14")], false),
        ] {
            let expected = frames.len();
            let (response, seen) = peek(&retry, grpc(frames)).await;
            assert_eq!(seen, unwanted);
            let mut body = response.into_body();
            let mut left = 0;
            while let Some(frame) = body.frame().await {
                frame.unwrap();
                left += 1;
            }
            assert_eq!(left, expected, "nothing is lost");
        }
    }

    #[tokio::test]
    async fn a_status_in_the_headers_is_seen_at_once() {
        let retry = retry();
        let with = |name: &str, value: &str, status: u16| {
            let response = Response::builder().status(status).header(name, value);
            response.body(Body::empty()).unwrap()
        };
        for (response, expected) in [
            (with("grpc-status", "14", 200), true),
            (with("grpc-status", "5", 200), false),
            (with("x", "y", 503), true),
            (with("x", "y", 500), false),
        ] {
            assert_eq!(peek(&retry, response).await.1, expected);
        }
    }
}
