//! `pods/<name>/log`: asked of the node that runs the pod, passed on as it comes.

use super::super::reply::Reply;
use super::Call;
use super::nodes::{self, container};
use crate::status::ApiError;
use futures::TryStreamExt;
use http::header::HeaderValue;
use http::{Request, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, BodyStream, StreamBody};
use std::convert::Infallible;

/// Parameters that are the node's to read.
const PASSED_ON: &[&str] = &[
    "follow",
    "previous",
    "sinceSeconds",
    "sinceTime",
    "timestamps",
    "tailLines",
    "limitBytes",
];

pub(super) async fn log(call: &Call) -> Result<Reply, ApiError> {
    let pod = call.object()?;
    let container = container(call, &pod)?;
    if pod["spec"]["nodeName"].as_str().is_none_or(str::is_empty) {
        // There is nothing to read yet, and that is no mistake.
        let plain = HeaderValue::from_static("text/plain");
        return Ok(Reply::bytes(StatusCode::OK, "", plain));
    }
    let request = Request::get(node_path(call, &container));
    let response = nodes::ask(call, &pod, request).await?;
    if !response.status().is_success() {
        return Err(nodes::refused(response).await);
    }
    let shutdown = call.api.shutdown.clone();
    let frames = BodyStream::new(response.into_body())
        .map_ok(|frame| Frame::data(frame.into_data().unwrap_or_default()));
    // What the node sent before it broke off was sent; there is no better place for the error.
    let frames = futures::StreamExt::take_while(frames, |f| std::future::ready(f.is_ok()));
    let frames = futures::StreamExt::filter_map(frames, |f| {
        std::future::ready(f.ok().map(Ok::<_, Infallible>))
    });
    let until = async move { shutdown.requested().await };
    let frames = futures::StreamExt::take_until(frames, Box::pin(until));
    Ok(Reply::stream(
        StreamBody::new(frames).boxed_unsync(),
        "text/plain",
    ))
}

fn node_path(call: &Call, container: &str) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for key in PASSED_ON {
        if let Some(value) = call.query.text(key) {
            query.append_pair(key, value);
        }
    }
    let (namespace, query) = (call.namespace().unwrap_or_default(), query.finish());
    format!(
        "/containerLogs/{namespace}/{}/{container}?{query}",
        call.name()
    )
}
